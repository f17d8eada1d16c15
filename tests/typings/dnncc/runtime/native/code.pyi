from runtime.native.code import *
