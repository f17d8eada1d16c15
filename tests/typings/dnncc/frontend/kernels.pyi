from compiler.frontend.kernels import *
