from compiler.ops.conv_transpose import *
