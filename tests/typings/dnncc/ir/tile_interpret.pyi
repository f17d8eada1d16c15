from compiler.ir.tile_interpret import *
