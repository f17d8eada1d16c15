from compiler.ir.heads import *
