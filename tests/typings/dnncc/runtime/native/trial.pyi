from runtime.native.trial import *
