from compiler.codegen.locate import *
