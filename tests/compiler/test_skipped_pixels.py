"""Strides that skip pixels of a convolution's input are a view of those that it reads."""

from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from onnx import ModelProto

import dnncc
from dnncc.runtime import load
from tests.compiler.qdq import SOME, Draw, Sketch, check
from tests.e2e.running import TARGETS


def strided(sketch: Sketch) -> ModelProto:
    """Two convolutions, the second with strides; windows of one row or column among them."""
    n, c, k = sketch.pick(1, 2), sketch.pick(1, 9), sketch.pick(1, 9)
    kernel = [sketch.choose(1, 1, 2, 3) for _ in range(2)]
    strides = [sketch.pick(1, 3) for _ in range(2)]
    pads = [sketch.choose(0, 0, 0, 1) for _ in range(4)]
    x = sketch.value("x", (n, c, sketch.pick(3, 12), sketch.pick(3, 12)))
    first = sketch.add("Conv", [x, sketch.weight("v", (c, c, 1, 1))], "f")
    quant = sketch.quant("f", 0.05)
    sketch.add("QuantizeLinear", [first, *quant], "f_q")
    sketch.add("DequantizeLinear", ["f_q", *quant], "f_real")
    w = sketch.weight("w", (k, c, *kernel), sketch.choose(None, 0))
    y = sketch.add("Conv", ["f_real", w], "r", strides=strides, pads=pads)
    return sketch.model(y, 0.05 * np.sqrt(c * np.prod(kernel)))


@SOME
@given(st.data())
def test_values_are_the_same(data: Any) -> None:
    draw: Draw = data.draw
    sketch = Sketch(draw)
    check(sketch, strided(sketch))


@given(st.data())
@SOME
def test_what_is_skipped_is_not_moved(data: Any) -> None:
    """Of 64 channels on 33 x 33 pixels, stride 3 reads 11 x 11."""
    sketch = Sketch(data.draw)
    x = sketch.value("x", (1, 33, 33, 64))
    x = sketch.add("Transpose", [x], "planes", perm=[0, 3, 1, 2])
    w = sketch.weight("w", (8, 64, 1, 1))
    model = sketch.model(sketch.add("Conv", [x, w], "r", strides=[3, 3]), 0.5)
    for target in TARGETS:
        artifact = dnncc.compile(model, target)
        (view,) = (node for node in artifact.graph.nodes if node.op == "slice")
        assert artifact.graph.tensors[view.outputs[0]].shape == (1, 64, 11, 11)
        report = load(artifact.image).profile.report
        assert report["dram_read_bytes"] < 11 * 11 * 64 + 2 * 8 * 64 + 4096
