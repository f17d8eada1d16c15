from compiler.frontend.checks import *
