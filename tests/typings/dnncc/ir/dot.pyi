from compiler.ir.dot import *
