from compiler.tvm.registration import *
