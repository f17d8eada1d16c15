from compiler.ir.tile import *
