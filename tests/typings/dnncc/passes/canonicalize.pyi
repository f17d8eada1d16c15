from compiler.passes.canonicalize import *
