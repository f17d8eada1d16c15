from compiler.debug.record import *
