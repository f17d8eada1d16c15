from compiler.frontend.quality import *
