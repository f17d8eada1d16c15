from compiler.passes.pipeline import *
