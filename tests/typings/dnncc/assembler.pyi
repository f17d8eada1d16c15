from compiler.assembler import *
