from compiler.passes.cascade import *
