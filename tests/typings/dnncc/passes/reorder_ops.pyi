from compiler.passes.reorder_ops import *
