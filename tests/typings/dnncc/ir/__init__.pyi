from compiler.ir import *
