from compiler.debug.loop_nests import *
