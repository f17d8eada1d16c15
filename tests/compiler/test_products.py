"""Matrix products of any rank equal onnxruntime's integer kernels."""

from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tests.compiler.qdq import SOME, Sketch, check


def matrices(sketch: Sketch) -> tuple[list[int], list[int]]:
    """Two shapes that numpy.matmul takes."""
    m, c, k = (sketch.pick(1, n) for n in (9, 40, 9))
    lead = [sketch.pick(1, 3) for _ in range(sketch.pick(0, 3))]
    shapes = []
    for matrix in ([m, c], [c, k]):
        begin = sketch.pick(0, len(lead))
        shapes.append([*(sketch.choose(n, 1) for n in lead[begin:]), *matrix])
    return shapes[0], shapes[1]


@SOME
@given(st.data())
def test_two_values(data: Any) -> None:
    sketch = Sketch(data.draw, ["uint8"])
    a, b = matrices(sketch)
    a, b = (a[-1:], b) if sketch.pick(0, 9) == 0 else (a, b)
    b = [b[-2]] if len(a) > 1 and sketch.pick(0, 9) == 0 else b
    y = sketch.add("MatMul", [sketch.value("a", a), sketch.value("b", b)], "r")
    check(sketch, sketch.model(y, 0.3))


@SOME
@given(st.data())
def test_a_value_and_a_constant(data: Any) -> None:
    sketch = Sketch(data.draw, ["uint8"])
    a, b = matrices(sketch)
    axis = sketch.choose(None, len(b) - 1) if len(b) == 2 else None
    y = sketch.add("MatMul", [sketch.value("a", a), sketch.weight("b", b, axis)], "r")
    check(sketch, sketch.model(y, 0.3))


@SOME
@given(st.data())
def test_attention(data: Any) -> None:
    """Transposed operands are addresses."""
    sketch = Sketch(data.draw, ["uint8"])
    n, heads, rows, width = (sketch.pick(1, limit) for limit in (2, 3, 7, 9))
    x, z = (sketch.value(name, (n, rows, heads, width)) for name in "xz")
    queries = sketch.add("Transpose", [x], "queries", perm=[0, 2, 1, 3])
    keys = sketch.add("Transpose", [z], "keys", perm=[0, 2, 3, 1])
    scores = sketch.add("MatMul", [queries, keys], "r")
    check(sketch, sketch.model(scores, 0.3))


@SOME
@given(st.data())
def test_gemm(data: Any) -> None:
    """alpha, transposes and a bias; within a step where onnxruntime computes it in float32."""
    sketch = Sketch(data.draw, ["uint8"])
    m, c, k = (sketch.pick(1, n) for n in (6, 40, 9))
    turned = {"transA": sketch.pick(0, 1), "transB": sketch.pick(0, 1)}
    x = sketch.value("x", (c, m) if turned["transA"] else (m, c))
    shape = (k, c) if turned["transB"] else (c, k)
    if sketch.pick(0, 1):
        w = sketch.weight("w", shape, sketch.choose(None, 0 if turned["transB"] else 1))
    else:
        w = sketch.value("w", shape)
    inputs, scales = [x, w], {"alpha": sketch.choose(1.0, 0.25, 0.7)}
    if sketch.pick(0, 1):
        inputs.append(sketch.constant("b", sketch.rng.normal(0, 1, k).astype(np.float32)))
        scales["beta"] = sketch.choose(1.0, 0.5)
    y = sketch.add("Gemm", inputs, "r", **turned, **scales)
    check(sketch, sketch.model(y, 0.3), steps=1)
