from compiler.passes.lower_floats import *
