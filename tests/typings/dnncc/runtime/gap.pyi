from runtime.gap import *
