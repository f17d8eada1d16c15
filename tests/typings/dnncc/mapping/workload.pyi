from compiler.mapping.workload import *
