from isa.core import *
