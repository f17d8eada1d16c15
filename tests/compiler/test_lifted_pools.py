"""int8 average pools that onnxruntime computes as uint8: ties round as there."""

from typing import Any

import numpy as np
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

import dnncc
from dnncc.runtime import load
from tests import oracle

SHAPE, SCALE = [1, 64, 12, 12], 0.043
WINDOWS: dict[str, dict[str, Any]] = {
    "2x2": {"kernel_shape": [2, 2], "strides": [2, 2]},
    "padded": {"kernel_shape": [4, 3], "pads": [1, 1, 2, 1]},
    "whole": {"kernel_shape": [12, 12]},
}


def model(zero: int, attrs: dict[str, Any], borders: bool) -> ModelProto:
    """Quantised in the model, between float borders (then it is uint8 there), or outside."""
    sides = ["s", "z"]
    nodes = [
        helper.make_node("QuantizeLinear", ["x", *sides], ["xq"], "before"),
        helper.make_node("DequantizeLinear", ["xq", *sides], ["xf"], "real"),
        helper.make_node("AveragePool", ["xf"], ["yf"], "pool", **attrs),
        helper.make_node("QuantizeLinear", ["yf", *sides], ["yq"], "after"),
        helper.make_node("DequantizeLinear", ["yq", *sides], ["y"], "back"),
    ]
    kind = TensorProto.FLOAT if borders else TensorProto.INT8
    first, last = ("x", "y") if borders else ("xq", "yq")
    graph = helper.make_graph(
        nodes if borders else nodes[1:4],
        "pool",
        [helper.make_tensor_value_info(first, kind, SHAPE)],
        [helper.make_tensor_value_info(last, kind, None)],
        [
            numpy_helper.from_array(np.array(SCALE, np.float32), "s"),
            numpy_helper.from_array(np.array(zero, np.int8), "z"),
        ],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.mark.parametrize("borders", [True, False])
@pytest.mark.parametrize("zero", [0, -128, 3])
@pytest.mark.parametrize("window", WINDOWS)
def test_ties(window: str, zero: int, borders: bool) -> None:
    made = model(zero, WINDOWS[window], borders)
    steps = np.random.default_rng(0).integers(-128, 128, SHAPE)
    real = ((steps - zero) * SCALE).astype(np.float32)
    feeds = {made.graph.input[0].name: real if borders else steps.astype(np.int8)}
    ((name, expected),) = oracle.run(made, feeds).items()
    (got,) = load(dnncc.compile(made, "tpu-like").image).run([name], feeds)
    np.testing.assert_array_equal(got, expected)
