from isa.image import *
