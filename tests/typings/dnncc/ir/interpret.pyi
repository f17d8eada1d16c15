from compiler.ir.interpret import *
