from isa.short import *
