from compiler.mapping.rounds import *
