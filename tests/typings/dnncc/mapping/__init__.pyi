from compiler.mapping import *
