from compiler.memory import *
