from compiler.compare import *
