from compiler.mapping.beside import *
