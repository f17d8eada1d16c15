from compiler.mapping.lowering import *
