from runtime.verification import *
