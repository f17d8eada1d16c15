from compiler.debug.dumps import *
