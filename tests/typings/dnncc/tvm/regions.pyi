from compiler.tvm.regions import *
