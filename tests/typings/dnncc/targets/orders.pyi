from targets.orders import *
