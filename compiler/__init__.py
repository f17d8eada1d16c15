"""dnncc: compile ONNX graphs to accelerator instructions, and run them on a simulator."""

__version__ = "0.1.0"
