from compiler.passes.context import *
