from isa.types import *
