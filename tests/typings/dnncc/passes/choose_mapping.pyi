from compiler.passes.choose_mapping import *
