from compiler.variants import *
