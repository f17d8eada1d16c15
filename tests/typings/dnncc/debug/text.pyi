from compiler.debug.text import *
