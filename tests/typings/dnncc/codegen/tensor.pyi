from compiler.codegen.tensor import *
