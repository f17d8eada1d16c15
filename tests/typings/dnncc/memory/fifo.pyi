from compiler.memory.fifo import *
