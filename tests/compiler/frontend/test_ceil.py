"""An average whose size is rounded up is divided as the kernel divides that onnxruntime takes."""

from typing import Any

import numpy as np
import pytest
from onnx import ModelProto, helper

from dnncc.frontend.importer import import_model, static_model
from dnncc.ir.interpret import interpret
from dnncc.passes.context import Context
from tests.compiler.small import PASSES
from tests.models import make_model, random_feeds
from tests.oracle import run

SHAPES = {1: (1, 2, 9), 2: (1, 2, 9, 8)}
WINDOWS: dict[int, Any] = {
    1: {"kernel_shape": [3], "strides": [3], "pads": [2, 0]},
    2: {"kernel_shape": [3, 2], "strides": [3, 3], "pads": [2, 0, 0, 1]},
}
KERNELS = {"uint8": "integer", "int8": "float"}
"""The int8 value from a QuantizeLinear is uint8 in onnxruntime, the output is not."""


def average(rank: int, dtype: str, pads: list[int] | None = None) -> ModelProto:
    """float input -> quantised -> AveragePool -> quantised output, all in units of 1/16."""
    attrs = WINDOWS[rank] | ({} if pads is None else {"pads": pads})
    quant = ["scale", "zero"]
    nodes = [
        helper.make_node("QuantizeLinear", ["x", *quant], ["q"]),
        helper.make_node("DequantizeLinear", ["q", *quant], ["real"]),
        helper.make_node(
            "AveragePool", ["real"], ["mean"], ceil_mode=1, count_include_pad=1, **attrs
        ),
        helper.make_node("QuantizeLinear", ["mean", *quant], ["y"]),
    ]
    constants = {"scale": np.float32(1 / 16), "zero": np.array(5, dtype)}
    inputs = {"x": (np.dtype(np.float32), SHAPES[rank])}
    model = make_model(nodes, inputs, {"y": (np.dtype(dtype), None)}, constants, 13)
    model.graph.output[0].type.tensor_type.ClearField("shape")
    return model


@pytest.mark.parametrize("padded", [True, False])
@pytest.mark.parametrize("dtype", KERNELS)
@pytest.mark.parametrize("rank", SHAPES)
def test_equals_onnxruntime(rank: int, dtype: str, padded: bool) -> None:
    model = average(rank, dtype, None if padded else [0] * 2 * rank)
    feeds = random_feeds(model, 1)
    graph = import_model(model)
    (pool,) = (n for n in graph.nodes if n.op == "onnx.AveragePool")
    assert pool.attrs["kernel"] == KERNELS[dtype]
    assert any(n.op == "onnx.Pad" for n in graph.nodes) == (padded and dtype == "int8")
    for run_pass in PASSES:
        graph = run_pass(graph, Context())
    np.testing.assert_array_equal(interpret(graph, feeds)["y"], run(model, feeds)["y"])


@pytest.mark.parametrize("dtype", KERNELS)
def test_the_static_model_stands_for_itself(dtype: str) -> None:
    """It has a Pad, between which and its QuantizeLinear no integer kernel is found."""
    model = static_model(average(2, dtype))
    feeds = random_feeds(model, 2)
    (pool,) = (n for n in import_model(model).nodes if n.op == "onnx.AveragePool")
    assert pool.attrs["kernel"] == "float"
    assert run(model, feeds)["y"].shape == (1, 2, 4, 3)
