from runtime.orders import *
