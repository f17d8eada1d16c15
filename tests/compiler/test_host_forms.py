"""What the host computes is what onnxruntime computes, where onnx.reference has it otherwise."""

from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper

import dnncc
from dnncc.runtime import load
from tests.models import make_model
from tests.oracle import run


@pytest.mark.parametrize("dtype", ["int8", "uint8"])
@pytest.mark.parametrize("coordinates", ["half_pixel", "asymmetric"])
def test_interpolated_integers_are_truncated(dtype: str, coordinates: str) -> None:
    info = np.iinfo(dtype)
    x = np.random.default_rng(0).integers(info.min, info.max + 1, (1, 3, 9, 7)).astype(dtype)
    attrs = {"mode": "linear", "coordinate_transformation_mode": coordinates}
    node = helper.make_node("Resize", ["x", "", "scales"], ["y"], "resize", **attrs)
    result = {"y": (np.dtype(dtype), (1, 3, 18, 28))}
    constants = {"scales": np.array([1, 1, 2, 4], np.float32)}
    model = make_model([node], {"x": x}, result, constants)
    (got,) = load(dnncc.compile(model, "tpu-like").image).run(None, {"x": x})
    np.testing.assert_array_equal(got, run(model, {"x": x})["y"])


def test_an_operator_whose_shape_onnx_does_not_infer_is_expanded() -> None:
    """GroupNormalization, of which only the nodes that define it have shapes."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2, 6, 5, 4)).astype(np.float32)
    constants: dict[str, Any] = {
        name: rng.standard_normal(6).astype(np.float32) for name in ("gain", "shift")
    }
    nodes = [
        helper.make_node("GroupNormalization", ["x", "gain", "shift"], ["n"], num_groups=3),
        helper.make_node("Relu", ["n"], ["y"]),
    ]
    model = make_model(nodes, {"x": x}, {"y": x}, constants, 21)
    model.ir_version = 10
    model.graph.output[0].type.tensor_type.ClearField("shape")
    assert model.graph.output[0].type.tensor_type.elem_type == TensorProto.FLOAT
    (got,) = load(dnncc.compile(model, "tpu-like", precision="float").image).run(None, {"x": x})
    np.testing.assert_allclose(got, run(model, {"x": x})["y"], atol=1e-5)
