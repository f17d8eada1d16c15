from compiler.passes.pack_parameters import *
