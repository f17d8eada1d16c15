"""Networks of uint16 values run as int16 ones, and give and take uint16."""

from typing import Any

import numpy as np
import pytest
from onnx import ModelProto, helper, numpy_helper

import dnncc
from dnncc.isa import elf
from dnncc.runtime import load
from tests.compiler.qdq import reasons
from tests.models import make_model
from tests.oracle import run


def network(borders: bool) -> ModelProto:
    """A convolution with int8 weights, a residual and a transpose; float or uint16 at its ends."""
    rng = np.random.default_rng(0)
    nodes: list[Any] = [
        ("QuantizeLinear", ["x", "s", "z"], "xq", {}),
        ("DequantizeLinear", ["xq", "s", "z"], "a", {}),
        ("DequantizeLinear", ["w", "sw", "zw"], "weight", {}),
        ("Conv", ["a", "weight"], "c", {"pads": [1, 1, 1, 1]}),
        ("QuantizeLinear", ["c", "sc", "zc"], "cq", {}),
        ("DequantizeLinear", ["cq", "sc", "zc"], "cr", {}),
        ("Add", ["cr", "a"], "sum", {}),
        ("QuantizeLinear", ["sum", "sc", "zc"], "sq", {}),
        ("Transpose", ["sq"], "mq", {"perm": [0, 2, 3, 1]}),
        ("DequantizeLinear", ["mq", "sc", "zc"], "y", {}),
    ]
    made = [helper.make_node(op, i, [o], name=o, **attrs) for op, i, o, attrs in nodes]
    shape, dtype = (1, 5, 9, 9), np.dtype(np.float32 if borders else np.uint16)
    first, last = ("x", "y") if borders else ("xq", "mq")
    constants = {
        "w": rng.integers(-99, 99, (5, 5, 3, 3)).astype(np.int8), "zw": np.int8(0),
        "s": np.float32(1e-4), "z": np.uint16(32768), "sw": np.float32(0.01),
        "sc": np.float32(3e-4), "zc": np.uint16(20000),
    }  # fmt: skip
    kept = made if borders else made[1:-1]
    model = make_model(kept, {first: (dtype, shape)}, {last: (dtype, None)}, constants, 21)
    model.graph.output[0].type.tensor_type.ClearField("shape")
    model.ir_version = 10
    return model


@pytest.mark.parametrize("borders", [True, False])
def test_near_onnxruntime(borders: bool) -> None:
    """It computes the convolution in float32, which rounds otherwise in a few places."""
    model = network(borders)
    rng = np.random.default_rng(1)
    real = rng.uniform(-4, 4, (1, 5, 9, 9)).astype(np.float32)
    feeds = {"x": real} if borders else {"xq": rng.integers(0, 65536, real.shape, np.uint16)}
    artifact = dnncc.compile(model, "eyeriss-like")
    host = reasons(artifact.graph)
    assert not {"c", "sum", "sq", "cq"} & {*host}
    (got,) = load(elf.write(artifact.image)).run(None, feeds)
    (expected,) = run(model, feeds).values()
    assert got.dtype == expected.dtype
    step = 3e-4 if borders else 1
    off = np.abs(got.astype(np.float64) - expected) / step
    assert off.max() < 1.01 and (off > 0.01).mean() < 0.01


def test_weights_of_uint16() -> None:
    """As many products as fit the accumulators."""
    shape = (4, 6)
    values = np.random.default_rng(0).integers(32768 - 90, 32768 + 90, (6, 3)).astype(np.uint16)
    nodes = [
        helper.make_node("DequantizeLinear", ["x", "s", "z"], ["a"]),
        helper.make_node("DequantizeLinear", ["w", "s", "z"], ["b"]),
        helper.make_node("MatMul", ["a", "b"], ["c"], "product"),
        helper.make_node("QuantizeLinear", ["c", "s", "z"], ["y"]),
    ]
    constants = {"w": values, "s": np.float32(0.02), "z": np.uint16(32768)}
    feeds = {"x": np.random.default_rng(1).integers(0, 65536, shape).astype(np.uint16)}
    model = make_model(nodes, feeds, {"y": (np.dtype(np.uint16), (4, 3))}, constants, 21)
    model.ir_version = 10
    assert numpy_helper.to_array(model.graph.initializer[0]).dtype == np.uint16
    artifact = dnncc.compile(model, "eyeriss-like", strict=True)
    (got,) = load(artifact.image).run(None, feeds)
    np.testing.assert_array_equal(got, run(model, feeds)["y"])
