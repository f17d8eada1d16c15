from compiler.tvm.operators import *
