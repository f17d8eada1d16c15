"""A float model is brought into a form that onnxruntime.quantization takes."""

from typing import Any

import numpy as np
import pytest
from onnx import helper, version_converter

from dnncc.frontend.preparation import raised
from dnncc.frontend.shapes import LARGEST_SHAPE
from tests.models import make_model


@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.float64])
def test_a_newer_opset_has_the_same_weights(dtype: Any) -> None:
    """Small and large ones, and those that nothing reads, as ONNX's converter alone has them."""
    rows = LARGEST_SHAPE // 8
    constants = {
        "w": np.random.default_rng(0).standard_normal((rows, 16)).astype(dtype),
        "b": np.arange(16, dtype=dtype),
        "unused": np.ones((rows, 16), dtype),
    }
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["h"], name="product"),
        helper.make_node("Add", ["h", "b"], ["y"], name="bias"),
    ]
    given, expected = (
        make_model(nodes, {"x": (dtype, [2, rows])}, {"y": (dtype, [2, 16])}, constants)
        for _ in range(2)
    )
    expected.ir_version = max(expected.ir_version, 8)
    wanted = version_converter.convert_version(expected, 21)
    assert raised(given, 21).SerializeToString() == wanted.SerializeToString()
