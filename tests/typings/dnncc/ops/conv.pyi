from compiler.ops.conv import *
