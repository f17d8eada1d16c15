from compiler.ir.tile_verify import *
