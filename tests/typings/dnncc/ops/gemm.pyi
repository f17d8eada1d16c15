from compiler.ops.gemm import *
