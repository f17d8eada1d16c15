from compiler.codegen.image import *
