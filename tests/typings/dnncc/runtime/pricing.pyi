from runtime.pricing import *
