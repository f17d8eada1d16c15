from compiler.frontend.batch_norm import *
