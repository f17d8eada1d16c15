from compiler.passes.assign_layout import *
