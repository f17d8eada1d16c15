from compiler.ops.op import *
