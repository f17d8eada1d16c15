from compiler.ops.elementwise import *
