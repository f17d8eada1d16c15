from compiler.ops.expression import *
