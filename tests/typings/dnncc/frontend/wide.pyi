from compiler.frontend.wide import *
