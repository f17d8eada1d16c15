from compiler.mapping.pool import *
