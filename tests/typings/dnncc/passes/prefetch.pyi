from compiler.passes.prefetch import *
