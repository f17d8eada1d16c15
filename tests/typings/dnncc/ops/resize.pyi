from compiler.ops.resize import *
