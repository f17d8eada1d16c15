from compiler.mapping.mapping import *
