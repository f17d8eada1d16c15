from compiler.mapping.space import *
