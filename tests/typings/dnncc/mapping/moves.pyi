from compiler.mapping.moves import *
