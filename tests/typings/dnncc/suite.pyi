from compiler.suite import *
