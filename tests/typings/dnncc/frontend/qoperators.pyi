from compiler.frontend.qoperators import *
