from compiler.memory.units import *
