from compiler.debug.selection import *
