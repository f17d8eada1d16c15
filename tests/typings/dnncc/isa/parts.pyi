from isa.parts import *
