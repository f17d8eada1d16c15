from runtime.native.suitable import *
