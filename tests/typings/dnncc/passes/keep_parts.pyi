from compiler.passes.keep_parts import *
