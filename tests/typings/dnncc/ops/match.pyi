from compiler.ops.match import *
