from runtime.native.relax import *
