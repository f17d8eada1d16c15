from compiler.mapping.asking import *
