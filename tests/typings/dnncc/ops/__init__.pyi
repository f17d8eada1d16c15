from compiler.ops import *
