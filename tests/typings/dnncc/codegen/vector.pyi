from compiler.codegen.vector import *
