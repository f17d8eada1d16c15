from compiler.ir.ring_verify import *
