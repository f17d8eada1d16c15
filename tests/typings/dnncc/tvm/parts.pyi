from compiler.tvm.parts import *
