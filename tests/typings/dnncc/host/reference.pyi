from compiler.host.reference import *
