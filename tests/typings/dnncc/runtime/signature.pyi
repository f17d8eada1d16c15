from runtime.signature import *
