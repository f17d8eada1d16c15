from compiler.ops.pool import *
