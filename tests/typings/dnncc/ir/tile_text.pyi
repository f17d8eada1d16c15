from compiler.ir.tile_text import *
