from compiler.operators import *
