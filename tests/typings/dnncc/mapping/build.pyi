from compiler.mapping.build import *
