from runtime.native.work import *
