from compiler.passes.fold_constants import *
