from compiler.levels import *
