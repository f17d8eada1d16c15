from compiler.bisect import *
