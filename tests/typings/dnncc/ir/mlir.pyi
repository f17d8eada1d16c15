from compiler.ir.mlir import *
