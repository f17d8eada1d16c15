from compiler.debug.failure import *
