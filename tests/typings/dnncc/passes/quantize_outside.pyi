from compiler.passes.quantize_outside import *
