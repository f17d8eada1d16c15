"""A batch normalisation in a transposed convolution's weights computes the same."""

from typing import Any

import numpy as np
import pytest
from onnx import ModelProto, helper

from dnncc.frontend.batch_norm import fold_batch_norms
from tests.models import make_model

ort = pytest.importorskip("onnxruntime")

X = np.random.default_rng(0).normal(size=(1, 4, 5, 6)).astype(np.float32)


def network(group: int, bias: bool, shared: bool = False) -> ModelProto:
    rng, results = np.random.default_rng(1), 3 * group
    constants = {"w": rng.normal(size=(4, 3, 2, 3)), "b": rng.normal(size=results)}
    constants |= {name: rng.uniform(0.5, 1.5, results) for name in ("scale", "variance")}
    constants |= {name: rng.normal(size=results) for name in ("shift", "mean")}
    inputs = ["x", "w", *(["b"] if bias else [])]
    norm = ["c", "scale", "shift", "mean", "variance"]
    nodes = [
        helper.make_node("ConvTranspose", inputs, ["c"], group=group, strides=[2, 2]),
        helper.make_node("BatchNormalization", norm, ["y"], epsilon=1e-3),
    ]
    outputs = {"y": (np.float32, None)} | ({"c": (np.float32, None)} if shared else {})
    constants = {k: v.astype(np.float32) for k, v in constants.items()}
    return make_model(nodes, {"x": X}, outputs, constants)


def results(model: ModelProto) -> list[Any]:
    return list(ort.InferenceSession(model.SerializeToString()).run(None, {"x": X}))


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("group", [1, 2])
def test_same_values_without_it(group: int, bias: bool) -> None:
    model = network(group, bias)
    before = results(model)
    fold_batch_norms(model)
    assert [n.op_type for n in model.graph.node] == ["ConvTranspose"]
    np.testing.assert_allclose(results(model)[0], before[0], rtol=1e-4, atol=1e-4)


def test_not_if_the_convolution_has_other_readers() -> None:
    model = network(1, True, shared=True)
    fold_batch_norms(model)
    assert len(model.graph.node) == 2
