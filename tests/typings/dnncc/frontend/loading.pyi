from compiler.frontend.loading import *
