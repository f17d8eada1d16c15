from compiler.codegen import *
