from runtime.native.build import *
