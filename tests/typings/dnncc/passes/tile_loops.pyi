from compiler.passes.tile_loops import *
