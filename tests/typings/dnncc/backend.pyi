from compiler.backend import *
