from compiler.debug.origins import *
