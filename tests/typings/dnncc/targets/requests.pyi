from targets.requests import *
