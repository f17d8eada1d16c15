from compiler.ops.cascade import *
