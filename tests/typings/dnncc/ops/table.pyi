from compiler.ops.table import *
