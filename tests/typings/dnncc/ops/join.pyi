from compiler.ops.join import *
