from compiler.diagnostics import *
