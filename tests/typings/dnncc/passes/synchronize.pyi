from compiler.passes.synchronize import *
