"""Machine code that is made here: host parts by TVM, from their ONNX alone; loops, from C."""
