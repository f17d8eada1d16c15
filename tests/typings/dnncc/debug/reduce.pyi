from compiler.debug.reduce import *
