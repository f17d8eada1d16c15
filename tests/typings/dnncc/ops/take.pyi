from compiler.ops.take import *
