from compiler.passes.partition import *
