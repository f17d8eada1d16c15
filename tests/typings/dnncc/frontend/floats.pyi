from compiler.frontend.floats import *
