from runtime.grouping.runs import *
