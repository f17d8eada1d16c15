from compiler.ops.runs import *
