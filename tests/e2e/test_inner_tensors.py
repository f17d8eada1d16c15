"""session.run gives inner tensors as they are when they are complete, though memory is reused."""

import numpy as np
import pytest

import dnncc
from dnncc.ir.interpret import interpret
from dnncc.runtime import InferenceSession
from tests.models import find_model


@pytest.mark.parametrize("model", ["mcunet_vww_int8", "mlperf_tiny_ic_resnet8_int8"])
def test_every_tensor_that_has_a_place(model: str) -> None:
    path = find_model(model)
    saved = np.load(path.with_name("io_ort.npz"))
    feeds = {key[3:]: saved[key] for key in saved if key.startswith("in:")}
    artifact = dnncc.compile(path, "eyeriss-like")
    names = [s.name for s in artifact.image.symbols if s.kind == "tensor"]
    expected = interpret(artifact.graph, feeds)
    values = InferenceSession(artifact.image).run(names, feeds)
    assert len(names) > 10
    for name, value in zip(names, values, strict=True):
        assert np.array_equal(value, expected[name]), name
