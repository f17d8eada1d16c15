from compiler.frontend.importer import *
