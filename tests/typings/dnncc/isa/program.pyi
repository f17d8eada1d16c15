from isa.program import *
