from compiler.passes.legalize import *
