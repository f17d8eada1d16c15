from compiler.debug.compare import *
