from compiler.passes.fuse import *
