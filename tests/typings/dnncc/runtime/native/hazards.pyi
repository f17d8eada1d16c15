from runtime.native.hazards import *
