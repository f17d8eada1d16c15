"""A small network in which every kind of node has its part, for tests of the whole pipeline."""

import numpy as np
from onnx import ModelProto

from tests.compiler.small import Sketch


def small_network() -> ModelProto:
    """Two convolutions with a residual, a slice of their sum, a third one, and pooling."""
    sketch = Sketch()
    sketch.constants["zero"] = np.int8(3)
    weights(sketch, "w1", (16, 8, 3, 3))
    weights(sketch, "w2", (16, 16, 3, 3))
    weights(sketch, "w3", (12, 8, 1, 1))
    x = sketch.real("x")
    y = sketch.add("Conv", [x, "w1_real"], "a_y", strides=[2, 2], pads=[1, 1, 1, 1])
    a = sketch.integer(sketch.add("Relu", [y], "a_r"), "a", "coarse")
    left = sketch.add("DequantizeLinear", [a, "coarse", "zero"], "a_real")
    b = sketch.add("Conv", [left, "w2_real"], "b_y", pads=[1, 1, 1, 1])
    b = sketch.integer(b, "b", "coarse")
    right = sketch.add("DequantizeLinear", [b, "coarse", "zero"], "b_real")
    total = sketch.integer(sketch.add("Add", [left, right], "c_y"), "c", "coarse")
    for name, value in (("starts", [4]), ("ends", [12]), ("axes", [1])):
        sketch.constant(name, np.array(value, np.int64))
    part = sketch.add("Slice", [total, "starts", "ends", "axes"], "d")
    part = sketch.add("DequantizeLinear", [part, "coarse", "zero"], "d_real")
    e = sketch.integer(sketch.add("Conv", [part, "w3_real"], "e_y"), "e", "coarse")
    y = sketch.add("MaxPool", [e], "y", kernel_shape=[2, 2], strides=[2, 2])
    return sketch.model({"x": (np.int8, (1, 8, 15, 14))}, [y])


def weights(sketch: Sketch, name: str, shape: tuple[int, ...]) -> None:
    """Quantised weights without a zero point."""
    sketch.constants["none"], sketch.constants["coarse"] = np.int8(0), np.float32(0.37)
    sketch.constant(name, sketch.rng.integers(-60, 60, shape).astype(np.int8))
    sketch.add("DequantizeLinear", [name, "scale", "none"], f"{name}_real")
