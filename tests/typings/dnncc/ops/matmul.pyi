from compiler.ops.matmul import *
