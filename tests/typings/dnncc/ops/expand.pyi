from compiler.ops.expand import *
