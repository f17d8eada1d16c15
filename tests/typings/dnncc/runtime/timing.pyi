from runtime.timing import *
