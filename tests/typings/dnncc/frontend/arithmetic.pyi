from compiler.frontend.arithmetic import *
