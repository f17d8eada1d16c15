from compiler.passes.allocate import *
