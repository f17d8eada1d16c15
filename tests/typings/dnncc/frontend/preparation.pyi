from compiler.frontend.preparation import *
