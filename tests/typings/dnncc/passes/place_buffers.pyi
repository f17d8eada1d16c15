from compiler.passes.place_buffers import *
