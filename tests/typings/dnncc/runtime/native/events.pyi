from runtime.native.events import *
