from compiler.host.export import *
