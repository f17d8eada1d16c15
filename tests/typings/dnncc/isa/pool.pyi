from isa.pool import *
