from isa.command import *
