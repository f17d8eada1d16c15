from compiler.debug.timing import *
