from compiler.mapping.objective import *
