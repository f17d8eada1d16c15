"""ONNX Resize: elements repeated or chosen, or linear interpolation as depthwise convolutions."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from itertools import product
from typing import Any

import numpy as np
from msgspec import Struct

from ..ir.graph import Node, Quant
from .expand import Axis, repeated
from .join import interleaved
from .match import Match, Refused
from .op import OPERANDS, Op
from .runs import MOST, Row, Run, runs
from .take import cut, place_of, taken


class Resize(Op, onnx=("Resize", "Upsample")):
    """It is recognised as what it does, so no node of the Graph is one.

    onnxruntime chooses among integers in mode nearest, and interpolates in float32 in mode linear,
    of which the exact result is within a step. core/providers/cpu/tensor/upsample.cc.
    """

    @classmethod
    def recognize(cls, match: Match) -> Node:
        x = match.node.inputs[0]
        x = x if match.edit.tensors[x].dtype in OPERANDS else match.operand(0)
        scaled = [Scaled(*a) for a in zip(match.shape(x), match.result.shape, scales(match, x),
                                          strict=True)]  # fmt: skip
        mode = match.attr("mode", "nearest")
        if mode == "nearest":
            return nearest(match, x, scaled)
        if x == match.node.inputs[0]:
            raise Refused("it interpolates integers that have no scale")
        if mode not in ("linear", "bilinear") or match.attr("antialias", 0):
            raise Refused(f"mode {mode}" + ", with antialias" * bool(match.attr("antialias", 0)))
        return linear(match, x, scaled)


class Scaled(Struct, frozen=True):
    """An axis: the sizes of input and result, and what one is of the other."""

    size: int
    out: int
    scale: float


def scales(match: Match, x: str) -> tuple[float, ...]:
    """Per axis, float32: as given, or of the sizes."""
    shape, out = match.shape(x), match.result.shape
    policy = match.attr("keep_aspect_ratio_policy", "stretch")
    if policy != "stretch" or 0 in (*shape, *out):
        raise Refused(f"it keeps its aspect ratio, {policy}, or is empty")
    given = match.attr("scales", None)
    position = 1 if is_old(match) else 2
    if given is None and len(match.node.inputs) > position and match.node.inputs[position]:
        value = match.edit.value(match.node.inputs[position])
        if value is None:
            raise Refused("its scales are not constant")
        given = value.tolist()
    if not given:
        return tuple(float(np.float32(b) / np.float32(a)) for a, b in zip(shape, out, strict=True))
    axes = match.attr("axes", None) or range(len(shape))
    found = dict(zip((a % len(shape) for a in axes), map(float, given), strict=True))
    return tuple(found.get(axis, 1.0) for axis in range(len(shape)))


Coordinate = Callable[[Any, Any, Scaled], Any]
"""(index of a result, its axis' scale, the axis) -> the place in the input; of one number type."""

COORDINATES: Mapping[str, Coordinate] = {
    "half_pixel": lambda i, s, a: (i + half(i)) / s - half(i),
    "asymmetric": lambda i, s, a: i / s,
    "tf_half_pixel_for_nn": lambda i, s, a: (i + half(i)) / s,
    "pytorch_half_pixel": lambda i, s, a: (i + half(i)) / s - half(i) if a.out > 1 else i * 0,
    "align_corners": lambda i, s, a: i * (a.size - 1) / (a.out - 1) if a.out > 1 else i * 0,
}


def half(like: Any) -> Any:
    return Fraction(1, 2) if isinstance(like, Fraction) else np.float32(0.5)


ROUND: Mapping[str, Callable[[Any], Any]] = {
    "round_prefer_floor": lambda x: np.ceil(x - np.float32(0.5)),
    "round_prefer_ceil": lambda x: np.floor(x + np.float32(0.5)),
    "floor": np.floor,
    "ceil": np.ceil,
}


def is_old(match: Match) -> bool:
    """Before opset 11, there was one way."""
    return match.node.op == "onnx.Upsample" or match.edit.graph.opset < 11


def coordinate(match: Match) -> Coordinate:
    default = "asymmetric" if is_old(match) else "half_pixel"
    mode = match.attr("coordinate_transformation_mode", default)
    if mode not in COORDINATES:
        raise Refused(f"coordinates {mode}")
    return COORDINATES[mode]


def nearest(match: Match, x: str, axes: Sequence[Scaled]) -> Node:
    place, mode = coordinate(match), match.attr("nearest_mode", "round_prefer_floor")
    chosen = {}
    for number, axis in enumerate(axes):
        old = "ceil" if axis.scale < 1 else "floor"
        rounded = ROUND[old if is_old(match) else mode]
        chosen[number] = indices(axis, place, rounded)
    each = [Axis(axis.size, axis.out // axis.size, False) for axis in axes]
    if list(chosen.values()) == [np.arange(a.size).repeat(a.times).tolist() for a in each]:
        return repeated(match, x, each)
    return taken(match, x, {k: v for k, v in chosen.items() if v != list(range(axes[k].size))})


def indices(axis: Scaled, place: Coordinate, rounded: Callable[[Any], Any]) -> list[int]:
    """Which element of the input each result is."""
    index: Any = np.arange(axis.out, dtype=np.float32)
    if axis.scale != 1:
        index = np.clip(rounded(place(index, np.float32(axis.scale), axis)), 0, axis.size - 1)
    return [int(i) for i in index]


def linear(match: Match, x: str, axes: Sequence[Scaled]) -> Node:
    """Planes are the last two axes, the first two are images and channels."""
    if len(axes) == 3:
        (n, c, length), out = match.shape(x), match.result.shape
        inner = match.inside((n, c, 1, out[2]))
        source = match.reshaped(x, (n, c, 1, length))
        return inner.view_as(match, planes(inner, source, (Scaled(1, 1, 1.0), axes[2])))
    if len(axes) != 4 or any(a.size != a.out for a in axes[:2]):
        raise Refused("it interpolates along others than two axes of four, or one of three")
    return planes(match, x, (axes[2], axes[3]))


def planes(match: Match, x: str, axes: tuple[Scaled, Scaled]) -> Node:
    place = coordinate(match)
    units = [unit_of(fractions(axis, place)) for axis in axes]
    along = [runs(rows(axis, place, unit)) for axis, unit in zip(axes, units, strict=True)]
    parts = list(product(*along))
    if len(parts) > MOST:
        raise Refused(f"its weights are of more than {MOST} kinds")
    whole = [Run(0, 1, n, Row(0), 1) for n in match.shape(x)[:2]]
    names = []
    for part in parts:
        inner = match.inside((*match.result.shape[:2], *(run.count for run in part)))
        match.edit.emit(convolution(inner, x, (*whole, *part), math.prod(units)))
        names.append(inner.output)
    places = [place_of((*whole, *part)) for part in parts]
    return interleaved(names, places, match.output, match.loc)


def fractions(axis: Scaled, place: Coordinate) -> list[tuple[int, Fraction]]:
    """For each result the element before it, and how far it is on the way to the next one."""
    ratio = Fraction(axis.scale).limit_denominator(max(axis.size, axis.out))
    found = []
    for index in range(axis.out):
        where = place(Fraction(index), ratio, axis) if axis.scale != 1 else Fraction(index)
        where = min(max(where, Fraction(0)), Fraction(axis.size - 1))
        found.append((math.floor(where), where - math.floor(where)))
    return found


LARGEST_WEIGHT = 255


def unit_of(ways: Sequence[tuple[int, Fraction]]) -> int:
    """All weights are integers divided by it. Raises Refused."""
    unit = math.lcm(*{way.denominator for _, way in ways})
    if unit > LARGEST_WEIGHT:
        raise Refused("its weights are no multiples of 1/255 or more")
    return unit


def rows(axis: Scaled, place: Coordinate, unit: int) -> list[Row]:
    ways = [(first, int(way * unit)) for first, way in fractions(axis, place)]
    return [Row(i, (unit - w, w)) if w else Row(i, (unit,)) for i, w in ways]


def convolution(match: Match, x: str, part: Sequence[Run], unit: int) -> Node:
    """The results of one run of rows and one of columns: a depthwise convolution."""
    y, z = part[2:]
    weights = np.outer(y.row.weights, z.row.weights)
    common = math.gcd(unit, *map(int, weights.flat))
    weights, unit = weights // common, unit // common
    if weights.max() > LARGEST_WEIGHT:
        raise Refused("its weights are no multiples of 1/255 or more")
    channels = match.shape(x)[1]
    kernel = np.broadcast_to(weights, (channels, 1, *weights.shape)).astype(np.uint8)
    quant = Quant.per_tensor(1 / unit, 0)
    read = [*part[:2], *(Run(0, 1, r.end - r.begin, Row(r.begin), 1) for r in (y, z))]
    source = match.edit.like(x, f"{x}.part", shape=tuple(r.count for r in read))
    match.edit.emit(cut(x, source, read, match.loc))
    w = match.edit.constant(f"{match.output}.weight", kernel, quant)
    attrs = {"strides": (y.stride, z.stride), "dilations": (1, 1), "pads": (0, 0, 0, 0)}
    return match.make("conv2d", [source, w], group=channels, **attrs)
