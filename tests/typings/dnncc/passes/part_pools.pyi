from compiler.passes.part_pools import *
