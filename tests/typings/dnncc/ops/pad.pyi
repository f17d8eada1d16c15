from compiler.ops.pad import *
