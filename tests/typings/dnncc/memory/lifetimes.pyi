from compiler.memory.lifetimes import *
