from compiler.mapping.files import *
