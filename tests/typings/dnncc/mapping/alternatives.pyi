from compiler.mapping.alternatives import *
