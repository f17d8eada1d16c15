from runtime.native.clocks import *
