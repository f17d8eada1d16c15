from compiler.ops.softmax import *
