from compiler.debug.observer import *
