from compiler.tvm.clips import *
