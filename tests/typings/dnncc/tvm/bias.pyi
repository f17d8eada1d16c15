from compiler.tvm.bias import *
