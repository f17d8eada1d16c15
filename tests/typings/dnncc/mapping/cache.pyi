from compiler.mapping.cache import *
