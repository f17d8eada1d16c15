from compiler.tvm import *
