from compiler.frontend.probes import *
