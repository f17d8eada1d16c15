from compiler.memory.waits import *
