from runtime.grouping import *
