from compiler.frontend.ceil import *
