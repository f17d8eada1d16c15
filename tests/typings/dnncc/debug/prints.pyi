from compiler.debug.prints import *
