from compiler.ir.verify import *
