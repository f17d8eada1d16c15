from compiler.debug.resumed import *
