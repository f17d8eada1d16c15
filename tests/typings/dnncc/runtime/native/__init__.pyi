from runtime.native import *
