from compiler.mapping.cost import *
