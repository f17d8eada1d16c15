from compiler.passes.manual import *
