from compiler.ops.scale import *
