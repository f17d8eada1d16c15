from compiler.debug.verifying import *
