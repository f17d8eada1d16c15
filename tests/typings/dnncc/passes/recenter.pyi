from compiler.passes.recenter import *
