from targets.floor import *
