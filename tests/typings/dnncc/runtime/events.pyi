from runtime.events import *
