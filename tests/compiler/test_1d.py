"""Operators of one spatial dimension: planes of height 1."""

from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tests.compiler.qdq import SOME, Sketch, check


def window(sketch: Sketch) -> dict[str, Any]:
    taps = sketch.pick(1, 4)
    pads = [sketch.pick(0, taps - 1), sketch.pick(0, taps - 1)]
    return {"kernel_shape": [taps], "strides": [sketch.pick(1, 3)], "pads": pads}


def rows(sketch: Sketch) -> str:
    return sketch.value("x", (sketch.pick(1, 2), sketch.pick(1, 6), sketch.pick(7, 20)))


@SOME
@given(st.data())
def test_convolution(data: Any) -> None:
    sketch = Sketch(data.draw)
    group, attrs = sketch.pick(1, 2), window(sketch)
    x = sketch.value("x", (sketch.pick(1, 2), 2 * group, sketch.pick(7, 20)))
    shape = (3 * group, 2, *attrs["kernel_shape"])
    w = sketch.weight("w", shape, sketch.choose(None, 0))
    y = sketch.add("Conv", [x, w], "r", group=group, dilations=[sketch.pick(1, 2)], **attrs)
    check(sketch, sketch.model(y, 0.1))


@SOME
@given(st.data())
def test_largest(data: Any) -> None:
    sketch = Sketch(data.draw)
    x = rows(sketch)
    if sketch.pick(0, 1):
        y = sketch.add("GlobalMaxPool", [x], "r")
    else:
        y = sketch.add("MaxPool", [x], "r", **window(sketch), ceil_mode=sketch.pick(0, 1))
    check(sketch, sketch.model(y, like="x"))


@SOME
@given(st.data())
def test_average(data: Any) -> None:
    sketch = Sketch(data.draw)
    x = rows(sketch)
    if sketch.pick(0, 1):
        y = sketch.add("GlobalAveragePool", [x], "r")
    else:
        include = sketch.pick(0, 1)
        y = sketch.add("AveragePool", [x], "r", **window(sketch), count_include_pad=include)
    check(sketch, sketch.model(y, np.float32(0.03)), steps=1)
