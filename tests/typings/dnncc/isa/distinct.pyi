from isa.distinct import *
