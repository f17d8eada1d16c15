from compiler.frontend.shapes import *
