from compiler.mapping.search import *
