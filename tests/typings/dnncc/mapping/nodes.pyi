from compiler.mapping.nodes import *
