from compiler.ops.window import *
