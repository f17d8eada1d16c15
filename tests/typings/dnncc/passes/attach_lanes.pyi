from compiler.passes.attach_lanes import *
