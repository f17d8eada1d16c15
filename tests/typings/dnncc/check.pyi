from compiler.check import *
