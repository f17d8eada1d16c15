from compiler.reduce import *
