from runtime.native.cache import *
