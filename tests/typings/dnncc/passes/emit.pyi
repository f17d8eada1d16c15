from compiler.passes.emit import *
