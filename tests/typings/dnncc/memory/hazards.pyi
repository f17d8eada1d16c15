from compiler.memory.hazards import *
