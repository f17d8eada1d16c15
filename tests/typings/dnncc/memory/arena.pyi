from compiler.memory.arena import *
