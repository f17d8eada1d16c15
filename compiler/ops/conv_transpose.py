"""Transposed convolution as ordinary convolutions, one for each position between two ifmap steps.

y[i * stride + r * dilation - pad] += x[i] * w[r]. Results whose index leaves one remainder by the
stride meet the same taps of w, a convolution of stride 1; the strides' product of these, each
written between the others, is the result. W. Shi et al., "Is the deconvolution layer the same as a
convolutional layer?", 2016.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product
from math import gcd

import numpy as np
from msgspec import Struct

from ..ir.graph import Array, Node, Quant
from .join import Place, interleaved
from .match import Match, Refused
from .op import Op
from .window import pad_pair


class ConvTranspose(Op, onnx=("ConvTranspose",)):
    """It is recognised as `conv2d`s and their `interleave`, so no node of the Graph is one.

    onnxruntime computes it in float32; exact integer sums are within a step of that.
    """

    @classmethod
    def recognize(cls, match: Match) -> Node:
        x, w = match.operand(0), match.weight(1)
        rank = len(match.shape(w)) - 2
        if match.bias or rank not in (1, 2):
            raise Refused(f"it has {rank} spatial dimensions, not 1 or 2")
        if rank == 2:
            return convolutions(match, x, w)
        (n, c, length), (_, k, taps) = match.shape(x), match.shape(w)
        channels, _ = match.result.shape[1:]
        x, w = match.reshaped(x, (n, c, 1, length)), match.reshaped(w, (c, k, 1, taps))
        inner = match.inside((n, channels, 1, match.result.shape[2]))
        return inner.view_as(match, convolutions(inner, x, w))


class Phase(Struct, frozen=True):
    """Along one axis, results first, first + stride, ...: a convolution of stride 1 of x[begin:end]
    with `taps` of the weights, in that order; a tap behind the last one is zero."""

    first: int
    count: int
    taps: tuple[int, ...]
    dilation: int
    before: int
    after: int
    begin: int
    end: int


class Axis(Struct, frozen=True):
    """The sizes along one axis: of the ifmap, the filter and the result."""

    size: int
    taps: int
    out: int
    stride: int
    dilation: int
    pad: int

    def phases(self) -> Iterator[Phase]:
        return (p for r in range(self.stride) if (p := self.phase(r)).count > 0)

    def phase(self, remainder: int) -> Phase:
        """Of the results at `remainder` - pad modulo stride: x[base + t - later] for each tap."""
        first = (remainder - self.pad) % self.stride
        base = (first + self.pad - remainder) // self.stride
        taps = [r for r in range(self.taps) if r * self.dilation % self.stride == remainder]
        later = [(r * self.dilation - remainder) // self.stride for r in taps]
        found = self.convolution(first, taps, [n - base for n in later]) if taps else None
        if found is None or found.begin >= found.end:  # nothing of x is in these results
            return self.convolution(first, [self.taps], [0])
        return found

    def convolution(self, first: int, taps: list[int], later: list[int]) -> Phase:
        """Result t from `first` on is the sum of x[t - later] for each tap."""
        count = -((first - self.out) // self.stride)
        before, after = later[-1], count - later[0] - self.size
        return Phase(
            first,
            count,
            tuple(reversed(taps)),
            self.dilation // gcd(self.stride, self.dilation),
            max(before, 0),
            max(after, 0),
            max(-before, 0),
            self.size - max(-after, 0),
        )


def convolutions(match: Match, x: str, w: str) -> Node:
    """The node that makes the result, after those of its parts."""
    size, taps, out = match.shape(x)[2:], match.shape(w)[2:], match.result.shape[2:]
    strides, dilations = (pad_pair(match.attr(a, ())) for a in ("strides", "dilations"))
    pads = first_pads(match, size, taps, out, strides, dilations)
    axes = [Axis(*a) for a in zip(size, taps, out, strides, dilations, pads, strict=True)]
    phases = list(product(axes[0].phases(), axes[1].phases()))
    weights = Weights.of(match, w)
    bias = bias_of(match, x, weights)
    if len(phases) == 1:
        return convolution(match, x, weights, bias, phases[0])
    parts = [match.inside((*match.result.shape[:2], y.count, z.count)) for y, z in phases]
    for part, phase in zip(parts, phases, strict=True):
        match.edit.emit(convolution(part, x, weights, bias, phase))
    places = [Place((0, 0, y.first, z.first), (1, 1, *strides)) for y, z in phases]
    return interleaved([p.output for p in parts], places, match.output, match.loc)


def first_pads(
    match: Match,
    size: Sequence[int],
    taps: Sequence[int],
    out: Sequence[int],
    strides: Sequence[int],
    dilations: Sequence[int],
) -> tuple[int, ...]:
    """Pads at the top and left; where the result's size is what is given, half of what is over."""
    mode = match.attr("auto_pad", "NOTSET")
    if mode in ("NOTSET", "VALID") and match.attr("output_shape", None) is None:
        pads = tuple(match.attr("pads", ())) or (0,) * (2 * len(size))
        return (0,) * (2 - len(pads) // 2) + pads[: len(pads) // 2]
    extra = tuple(match.attr("output_padding", ())) or (0,) * len(size)
    extra = (0,) * (2 - len(extra)) + extra
    spans = zip(size, taps, out, strides, dilations, extra, strict=True)
    over = [max((n - 1) * s + e + (r - 1) * d + 1 - o, 0) for n, r, o, s, d, e in spans]
    return tuple(t // 2 if mode == "SAME_UPPER" else t - t // 2 for t in over)


class Weights(Struct, frozen=True):
    """`values` [K, C / group, R + 1, S + 1] as a convolution has them, behind each row and column a
    zero; their quantisation and group."""

    name: str
    values: Array
    quant: Quant
    group: int

    @classmethod
    def of(cls, match: Match, name: str) -> Weights:
        """Of a constant [C, K / group, R, S]."""
        value, quant, group = match.edit.value(name), match.quant(name), match.attr("group", 1)
        assert value is not None
        if quant.axis not in (None, 1):
            raise Refused(f"its weights are quantised along axis {quant.axis}, not per result")
        parts = [v.swapaxes(0, 1) for v in np.split(value, group)]
        if quant.axis is not None:
            quant = Quant(np.tile(quant.scale, group), np.tile(quant.zero, group), 0)
        turned = np.concatenate(parts)
        framed = np.empty((*turned.shape[:2], *(n + 1 for n in turned.shape[2:])), value.dtype)
        framed[...] = quant.zero.reshape(-1, 1, 1, 1)
        framed[:, :, :-1, :-1] = turned
        return cls(name, framed, quant, group)


def bias_of(match: Match, x: str, weights: Weights) -> tuple[str, ...]:
    name = (*match.node.inputs, "")[2]
    if not name:
        return ()
    units = match.quant(x).scale.astype(np.float64) * weights.quant.scale
    return (match.bias_of(name, np.broadcast_to(units, weights.values.shape[:1])),)


def convolution(
    match: Match, x: str, weights: Weights, bias: tuple[str, ...], phase: tuple[Phase, Phase]
) -> Node:
    """The `conv2d` that computes the results of one phase."""
    y, z = phase
    values = np.ascontiguousarray(weights.values[:, :, y.taps][..., z.taps])
    w = match.edit.constant(f"{weights.name}.phase", values, weights.quant)
    attrs = {
        "strides": (1, 1),
        "pads": (y.before, z.before, y.after, z.after),
        "dilations": (y.dilation, z.dilation),
        "group": weights.group,
    }
    return match.make("conv2d", [cut(match, x, phase), w, *bias], **attrs)


def cut(match: Match, x: str, phase: tuple[Phase, Phase]) -> str:
    """The rows and columns of x that matter, as a view."""
    shape = match.shape(x)
    spans = [(0, shape[0]), (0, shape[1]), *((p.begin, p.end) for p in phase)]
    starts, stops = zip(*spans, strict=True)
    if (starts, stops) == ((0,) * 4, shape):
        return x
    sizes = tuple(b - a for a, b in spans)
    new = match.edit.like(x, f"{x}.inside", shape=sizes)
    attrs = {"starts": starts, "stops": stops, "steps": (1,) * 4}
    match.edit.emit(Node("slice", (x,), (new,), attrs, loc=match.loc))
    return new
