from compiler.mapping.rehearsal import *
