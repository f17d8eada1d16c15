from compiler.ir.strides import *
