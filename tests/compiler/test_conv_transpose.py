"""ConvTranspose, decomposed into convolutions, is within a step of onnxruntime's float sums."""

from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from onnx import ModelProto

from tests.compiler.qdq import SOME, WIDE, Draw, Sketch, check


def sizes(sketch: Sketch, rank: int, low: int, high: int) -> list[int]:
    return [sketch.pick(low, high) for _ in range(rank)]


def transposed(sketch: Sketch) -> ModelProto:
    rank, group = sketch.pick(1, 2), sketch.pick(1, 3)
    depth, per_group = sketch.pick(1, 3), sketch.pick(1, 3)
    size, taps = sizes(sketch, rank, 1, 6), sizes(sketch, rank, 1, 5)
    strides, dilations = sizes(sketch, rank, 1, 4), sizes(sketch, rank, 1, 3)
    x = sketch.value("x", (sketch.pick(1, 2), group * depth, *size))
    w = sketch.weight("w", (group * depth, per_group, *taps), sketch.choose(None, 1))
    inputs = [x, w]
    if sketch.pick(0, 1):
        bias = sketch.rng.normal(0, 1, group * per_group).astype(np.float32)
        inputs.append(sketch.constant("b", bias))
    padding = [sketch.pick(0, s - 1) for s in strides]
    spans = zip(size, strides, taps, dilations, padding, strict=True)
    whole = [(n - 1) * s + (r - 1) * d + 1 + e for n, s, r, d, e in spans]
    attrs = {"strides": strides, "dilations": dilations, "group": group}
    result = sketch.add("ConvTranspose", inputs, "r", **attrs, **borders(sketch, whole, padding))
    if sketch.pick(0, 1):
        result = sketch.add("Relu", [result], "relu")
    return sketch.model(result, 0.05 * np.sqrt(depth * np.prod(taps)))


def borders(sketch: Sketch, whole: list[int], padding: list[int]) -> dict[str, Any]:
    """What says how much of the `whole` result there is."""
    kind = sketch.choose("pads", "output_shape", "SAME_UPPER", "SAME_LOWER", "VALID")
    if kind == "output_shape":
        return {"output_padding": padding, kind: [max(n - sketch.pick(0, 3), 1) for n in whole]}
    if kind != "pads":
        return {"auto_pad": kind}
    before = [sketch.pick(0, min(3, n - 1)) for n in whole]
    after = [sketch.pick(0, min(3, n - 1 - b)) for n, b in zip(whole, before, strict=True)]
    return {"output_padding": padding, "pads": before + after}


@SOME
@given(st.data())
def test_it_is_convolutions(data: Any) -> None:
    draw: Draw = data.draw
    sketch = Sketch(draw)
    check(sketch, transposed(sketch), steps=1)


@SOME
@given(st.data())
def test_of_16_bits(data: Any) -> None:
    sketch = Sketch(data.draw, ["int16"])
    model = transposed(sketch)
    model.opset_import[0].version = 21
    check(sketch, model, steps=1, targets=WIDE)
