from compiler.deadline import *
