from compiler.explanation import *
