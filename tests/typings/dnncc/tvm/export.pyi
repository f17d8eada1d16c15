from compiler.tvm.export import *
