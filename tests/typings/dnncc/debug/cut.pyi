from compiler.debug.cut import *
