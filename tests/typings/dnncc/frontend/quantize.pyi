from compiler.frontend.quantize import *
