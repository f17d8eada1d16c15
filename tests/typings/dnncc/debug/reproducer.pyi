from compiler.debug.reproducer import *
