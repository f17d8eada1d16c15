from compiler.ops.shape import *
