from compiler.debug.flags import *
