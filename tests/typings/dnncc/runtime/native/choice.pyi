from runtime.native.choice import *
