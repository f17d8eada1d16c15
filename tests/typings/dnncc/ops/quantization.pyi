from compiler.ops.quantization import *
