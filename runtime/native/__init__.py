"""Host parts as machine code, which TVM makes here: never from the binary, only from its ONNX."""
