from isa.starts import *
