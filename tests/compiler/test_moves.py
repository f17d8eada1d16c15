"""Operators that move quantised elements give onnxruntime's, on the accelerator."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.compiler.qdq import SOME, WIDE, Draw, Sketch, check


def shape(sketch: Sketch, low: int = 1, high: int = 4) -> list[int]:
    return [sketch.pick(1, 5) for _ in range(sketch.pick(low, high))]


def numbers(sketch: Sketch, name: str, values: Any) -> str:
    return sketch.constant(name, np.asarray(values, np.int64))


def gather(sketch: Sketch) -> str:
    sizes = shape(sketch)
    axis = sketch.pick(-len(sizes), len(sizes) - 1)
    indices = sketch.rng.integers(-sizes[axis], sizes[axis], sketch.choose((), (3,), (2, 2)))
    names = [sketch.value("x", sizes), numbers(sketch, "indices", indices)]
    return sketch.add("Gather", names, "r", axis=axis)


def expand(sketch: Sketch) -> str:
    sizes = shape(sketch)
    wide = [n * (sketch.pick(1, 3) if n == 1 else 1) for n in sizes]
    wide = [sketch.pick(1, 2)] * sketch.pick(0, 1) + wide
    return sketch.add("Expand", [sketch.value("x", sizes), numbers(sketch, "shape", wide)], "r")


def tile(sketch: Sketch) -> str:
    sizes = shape(sketch)
    times = [sketch.pick(1, 3) for _ in sizes]
    return sketch.add("Tile", [sketch.value("x", sizes), numbers(sketch, "times", times)], "r")


def depth_to_space(sketch: Sketch) -> str:
    b, (n, c, h, w) = sketch.pick(1, 3), (sketch.pick(1, 4) for _ in range(4))
    mode = sketch.choose("DCR", "CRD")
    x = sketch.value("x", (n, c * b * b, h, w))
    return sketch.add("DepthToSpace", [x], "r", blocksize=b, mode=mode)


def space_to_depth(sketch: Sketch) -> str:
    b, (n, c, h, w) = sketch.pick(1, 3), (sketch.pick(1, 4) for _ in range(4))
    return sketch.add("SpaceToDepth", [sketch.value("x", (n, c, h * b, w * b))], "r", blocksize=b)


def pad(sketch: Sketch) -> str:
    sizes = [sketch.pick(3, 6) for _ in range(sketch.pick(1, 4))]
    mode = sketch.choose("constant", "reflect", "edge")
    pads = [sketch.pick(-1 if mode == "constant" else 0, 2) for _ in range(2 * len(sizes))]
    x = sketch.value("x", sizes)
    inputs = [x, numbers(sketch, "pads", pads)]
    if mode == "constant" and sketch.choose(True, False):
        inputs.append(sketch.constant("fill", np.float32(sketch.choose(0.0, 0.31, -2.0))))
    return sketch.add("Pad", inputs, "r", mode=mode)


def slice_(sketch: Sketch) -> str:
    sizes = shape(sketch)
    steps = [sketch.choose(-2, -1, 1, 2) for _ in sizes]
    starts = [-1 if step < 0 else 0 for step in steps]
    ends = [-(2**31) if step < 0 else 2**31 for step in steps]
    axes = list(range(len(sizes)))
    given = dict(starts=starts, ends=ends, axes=axes, steps=steps)
    names = [numbers(sketch, name, values) for name, values in given.items()]
    return sketch.add("Slice", [sketch.value("x", sizes), *names], "r")


def shuffle(sketch: Sketch) -> str:
    n, a, b, h = (sketch.pick(1, 4) for _ in range(4))
    x = sketch.value("x", (n, a * b, h, 3))
    apart = sketch.add("Reshape", [x, numbers(sketch, "apart", [n, a, b, h, 3])], "a")
    turned = sketch.add("Transpose", [apart], "b", perm=[0, 2, 1, 3, 4])
    return sketch.add("Reshape", [turned, numbers(sketch, "whole", [n, a * b, h, 3])], "r")


def transpose(sketch: Sketch) -> str:
    sizes = [sketch.pick(1, 4) for _ in range(sketch.pick(2, 6))]
    perm = sketch.rng.permutation(len(sizes)).tolist()
    return sketch.add("Transpose", [sketch.value("x", sizes)], "r", perm=perm)


def split(sketch: Sketch) -> str:
    """The parts in another order."""
    sizes = shape(sketch)
    axis = sketch.pick(0, len(sizes) - 1)
    sizes[axis] = 6
    names = [sketch.value("x", sizes), numbers(sketch, "parts", [1, 3, 2])]
    sketch.add_many("Split", names, ["a", "b", "c"], axis=axis)
    return sketch.add("Concat", ["c", "a", "b"], "r", axis=axis)


def nearest(sketch: Sketch) -> str:
    rank = sketch.pick(1, 2)
    sizes = [sketch.pick(1, 3), sketch.pick(1, 3), *(sketch.pick(1, 7) for _ in range(rank))]
    modes = {
        "coordinate_transformation_mode": sketch.choose(*COORDINATES),
        "nearest_mode": sketch.choose("round_prefer_floor", "round_prefer_ceil", "floor", "ceil"),
    }
    return sketch.add(
        "Resize", resized(sketch, sizes, (0.5, 1.0, 1.5, 2.0, 2.4, 3.0)), "r", **modes
    )


COORDINATES = ("half_pixel", "asymmetric", "pytorch_half_pixel", "align_corners")


def resized(sketch: Sketch, sizes: Sequence[int], choices: Sequence[float]) -> list[str]:
    """The inputs of a Resize by some scales, given as such or as sizes."""
    scales = [1.0, 1.0, *(sketch.choose(*choices) for _ in sizes[2:])]
    scales = [max(s, 1.0) if n == 1 else s for s, n in zip(scales, sizes, strict=True)]
    x = sketch.value("x", sizes)
    if sketch.pick(0, 1):
        wanted = [int(n * s) for n, s in zip(sizes, scales, strict=True)]
        return [x, "", "", numbers(sketch, "sizes", wanted)]
    return [x, "", sketch.constant("scales", np.array(scales, np.float32))]


MOVES = {
    "gather": gather, "expand": expand, "tile": tile, "pad": pad, "slice": slice_,
    "depth to space": depth_to_space, "space to depth": space_to_depth, "shuffle": shuffle,
    "transpose": transpose, "split": split, "nearest": nearest,
}  # fmt: skip


@pytest.mark.parametrize("kind", MOVES)
@SOME
@given(st.data())
def test_same_elements(kind: str, data: Any) -> None:
    draw: Draw = data.draw
    sketch = Sketch(draw)
    result = MOVES[kind](sketch)
    check(sketch, sketch.model(result, like="x"))


@pytest.mark.parametrize("kind", ["gather", "expand", "shuffle", "nearest"])
@SOME
@given(st.data())
def test_same_elements_of_16_bits(kind: str, data: Any) -> None:
    sketch = Sketch(data.draw, ["int16", "uint16"])
    check(sketch, sketch.model(MOVES[kind](sketch), opset=21, like="x"), targets=WIDE)


@SOME
@given(st.data())
def test_linear_is_within_a_step(data: Any) -> None:
    sketch = Sketch(data.draw)
    sizes = [sketch.pick(1, 2), sketch.pick(1, 4), *(sketch.pick(1, 7) for _ in range(2))]
    mode = sketch.choose(*COORDINATES[:3])
    inputs = resized(sketch, sizes, (0.5, 1.0, 1.5, 2.0, 3.0))
    y = sketch.add("Resize", inputs, "r", mode="linear", coordinate_transformation_mode=mode)
    check(sketch, sketch.model(y, 0.05), steps=1)


@SOME
@given(data=st.data())
def test_pad_has_a_scale_of_its_own(data: Any) -> None:
    """A clamp and other steps; what lies around is quantised as the rest."""
    sketch = Sketch(data.draw)
    fill = sketch.constant("fill", np.float32(sketch.choose(0.0, 0.31, -2.0)))
    pads = numbers(sketch, "pads", [0, 0, 1, 0, 0, 0, 2, 3])
    result = sketch.add("Pad", [sketch.value("x", [1, 3, 5, 4]), pads, fill], "r")
    check(sketch, sketch.model(sketch.add("Relu", [result], "positive")))
