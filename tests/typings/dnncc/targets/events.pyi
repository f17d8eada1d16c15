from targets.events import *
