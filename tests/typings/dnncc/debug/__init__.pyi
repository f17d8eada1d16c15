from compiler.debug import *
