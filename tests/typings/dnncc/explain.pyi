from compiler.explain import *
