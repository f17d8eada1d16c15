from isa.places import *
