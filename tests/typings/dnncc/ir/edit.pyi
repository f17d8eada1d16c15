from compiler.ir.edit import *
