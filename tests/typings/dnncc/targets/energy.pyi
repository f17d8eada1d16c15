from targets.energy import *
