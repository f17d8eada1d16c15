from runtime.native.handovers import *
