from isa.numerics import *
