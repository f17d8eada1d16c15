from compiler.debug.parameters import *
