from compiler.mapping.given import *
