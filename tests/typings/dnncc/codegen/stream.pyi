from compiler.codegen.stream import *
