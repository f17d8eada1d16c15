"""The nine light networks of the onnx package, compiled, run, and compared with onnxruntime."""
