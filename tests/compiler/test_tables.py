"""Functions of one quantised value equal onnxruntime's for all its values, those without a result,
too."""

from typing import Any

import numpy as np
import pytest
from onnx import helper

import dnncc
from dnncc.runtime import load
from tests.models import make_model
from tests.oracle import run

PARTIAL = ("Sqrt", "Log", "Asin", "Acos", "Acosh", "Atanh", "Reciprocal")
TOTAL = ("Tan", "Sinh", "Cosh", "Atan", "Asinh", "Shrink", "Sin", "Cos")


@pytest.mark.parametrize("dtype", ["int8", "uint8"])
@pytest.mark.parametrize("op", [*PARTIAL, *TOTAL])
def test_every_value(op: str, dtype: str) -> None:
    nodes = [
        helper.make_node("DequantizeLinear", ["x", "s", "z"], ["real"]),
        helper.make_node(op, ["real"], ["result"]),
        helper.make_node("QuantizeLinear", ["result", "unit", "z"], ["y"]),
    ]
    zero = np.dtype(dtype).type(3)
    constants = {"s": np.float32(0.0078), "unit": np.float32(0.03), "z": zero}
    feeds: dict[str, Any] = {"x": np.arange(256).astype(dtype).reshape(1, 256)}
    model = make_model(nodes, feeds, {"y": feeds["x"]}, constants, 17)
    artifact = dnncc.compile(model, "tpu-like", strict=True)
    (got,) = load(artifact.image).run(None, feeds)
    np.testing.assert_array_equal(got, run(model, feeds)["y"])
