from compiler.mapping.cascades import *
