from compiler.mapping.bound import *
