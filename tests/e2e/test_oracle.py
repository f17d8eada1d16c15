"""The models that onnxruntime is asked about differ from the user's in the weights of products."""

import numpy as np
from onnx import helper, numpy_helper

from tests.models import make_model
from tests.oracle import exact


def test_only_factors_of_products_become_uint8() -> None:
    """A constant of another type would have onnxruntime take another kernel for a Mul."""
    shape = (1, 4, 6, 6)
    nodes = [
        helper.make_node("DequantizeLinear", ["x", "s", "z"], ["a"]),
        helper.make_node("DequantizeLinear", ["w", "s", "zw"], ["weight"]),
        helper.make_node("DequantizeLinear", ["gain", "s", "zg"], ["by"]),
        helper.make_node("Conv", ["a", "weight"], ["c"]),
        helper.make_node("Mul", ["c", "by"], ["d"]),
        helper.make_node("QuantizeLinear", ["d", "s", "z"], ["y"]),
    ]
    zeros = {"z": np.uint8(3), "zw": np.int8(0), "zg": np.int8(-128)}
    weights = {"w": np.ones((4, 4, 1, 1), np.int8), "gain": np.ones((4, 1, 1), np.int8)}
    inputs = {"x": (np.dtype(np.uint8), shape)}
    constants = {"s": np.float32(0.02), **zeros, **weights}
    model = exact(make_model(nodes, inputs, {"y": (np.dtype(np.uint8), shape)}, constants))
    types = {t.name: numpy_helper.to_array(t).dtype for t in model.graph.initializer}
    assert types[model.graph.node[1].input[0]] == np.uint8
    assert types[model.graph.node[2].input[0]] == np.int8
