from compiler.ir.storage import *
