from compiler.passes import *
