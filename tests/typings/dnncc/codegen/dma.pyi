from compiler.codegen.dma import *
