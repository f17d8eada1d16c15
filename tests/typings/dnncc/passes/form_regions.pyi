from compiler.passes.form_regions import *
