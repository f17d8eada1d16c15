from compiler.mapping.smallest import *
