from compiler.ir.split import *
