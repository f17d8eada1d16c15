from compiler.host import *
