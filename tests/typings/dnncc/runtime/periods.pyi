from runtime.periods import *
