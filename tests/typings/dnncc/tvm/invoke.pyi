from compiler.tvm.invoke import *
