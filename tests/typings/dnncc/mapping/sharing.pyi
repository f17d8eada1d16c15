from compiler.mapping.sharing import *
