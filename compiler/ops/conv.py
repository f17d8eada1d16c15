"""Convolution of quantised tensors, as ONNX QLinearConv."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from ..ir.graph import Array, Node
from ..ir.tile import Box, Dim
from ..mapping.build import Builder, requantize, scalar_quant, weight_zeros
from ..mapping.cost import layout
from ..mapping.workload import StepSpec
from .match import Match, Refused
from .op import Op, Tensors, array_reason, window_reason
from .scale import centered, requantized
from .window import output_size, padded, window_attrs

if TYPE_CHECKING:
    from dnncc.targets import Target


class Conv2d(Op, name="conv2d", onnx=("Conv",)):
    """y = clamp(requantize(sum (x - zero) * (w - zero) + b)); x NCHW, w OIHW constant, b int32.

    attrs: strides, pads (top, left, bottom, right), dilations, group, low, high. Padding is with
    the zero point. With `apart` y has an axis of groups before that of the channels in each; if
    they are `scattered`, each group is stored alone, wherever its elements lie.
    onnxruntime: core/providers/cpu/quantization/qlinearconv.cc.
    """

    @classmethod
    def shape(cls, node: Node, tensors: Tensors) -> tuple[int, ...]:
        x, w = (tensors[i].shape for i in node.inputs[:2])
        groups = (node.attrs["group"],) if node.attrs.get("apart") else ()
        channels = *groups, w[0] // prod(groups)
        return x[0], *channels, *output_size(x[2:], w[2:], node.attrs)

    @classmethod
    def run(cls, node: Node, tensors: Tensors, inputs: Sequence[Array]) -> Array:
        x, w = (
            centered(v, tensors[name]) for v, name in zip(inputs, node.inputs[:2], strict=False)
        )
        sums = convolve(padded(x, node.attrs["pads"], 0.0), w, node)
        if len(inputs) > 2:
            sums += inputs[2].astype(np.float64).reshape(-1, 1, 1)
        return requantized(sums, node, tensors, axis=1).reshape(cls.shape(node, tensors))

    @classmethod
    def recognize(cls, match: Match) -> Node:
        x, w = match.operand(0), match.weight(1)
        if match.bias:
            raise Refused("a convolution takes its bias as its third input")
        if len(match.shape(w)) == 3:
            return recognize_1d(match, x, w)
        if len(match.shape(w)) != 4:
            raise Refused(f"it has {len(match.shape(w)) - 2} spatial dimensions, not 1 or 2")
        return build(match, x, w, window_attrs(match.node, match.shape(w)[2:]))

    @classmethod
    def reason_not(cls, node: Node, tensors: Tensors, target: Target | None) -> str | None:
        quant = tensors[node.inputs[1]].quant
        if quant is not None and quant.axis not in (None, 0):
            return f"its weights are quantised along axis {quant.axis}, not per output channel"
        x, w = (tensors[name].shape for name in node.inputs[:2])
        if x[1] != w[1] * node.attrs["group"] or w[0] % node.attrs["group"]:
            return f"its input has {x[1]} channels, its weights are for {w[1]} in each group"
        return window_reason(node, w[2:]) or array_reason(node, tensors, target)

    @classmethod
    def lower(cls, build: Builder, node: Node) -> None:
        x, w, y = (build.tensor(i) for i in (*node.inputs[:2], node.outputs[0]))
        (n, channels, _, _), (p, q) = x.shape, y.shape[-2:]
        groups = node.attrs["group"]
        k, c = w.shape[0] // groups, channels // groups
        build.dims |= {"n": n, "g": groups, "k": k, "c": c, "p": p, "q": q}
        build.reduction = ("c",)
        out = Dim(groups * k, (("g", k), ("k", 1)))
        build.box = (Dim(n, (("n", 1),)), out, Dim(p, (("p", 1),)), Dim(q, (("q", 1),)))
        ifmap = (
            build.box[0],
            Dim(channels, (("g", c), ("c", 1))),
            seen(build, node, build.box[2], 0),
            seen(build, node, build.box[3], 1),
        )
        between = are_gathered(build, node)
        weights = read_weights(build, node, out, Dim(c, (("c", 1),)))
        uses = {
            **weights,
            "ifmap": read_ifmap(build, node, ifmap, between),
            "psum": build.accumulate(build.box),
        }
        build.inner.append(StepSpec("tensor", uses, array_attrs(build, node)))
        if node.attrs.get("apart"):
            finish_apart(build, node, out, between)
        else:
            requantize(build, node, "nkpq")


def are_gathered(build: Builder, node: Node) -> bool:
    """Whether groups that are apart lie closer to each other than pixels do, and are stored at
    once."""
    if not node.attrs.get("apart") or node.attrs.get("scattered"):
        return False
    strides = layout(build.tensor(node.outputs[0]))
    return strides[1] < strides[-1]


def read_ifmap(build: Builder, node: Node, box: Box, between: bool) -> tuple[str, str]:
    """The channels of a group; if those of results lie `between` each other, as a part of all."""
    name = node.inputs[0]
    if not between:
        return build.read("ifmap", name, box)
    build.read("ifmap", name, (box[0], Dim.whole(box[1].bound), *box[2:]))
    return build.part("ifmap_group", "ifmap", box)


def finish_apart(build: Builder, node: Node, channels: Dim, between: bool) -> None:
    """Groups on an axis of their own.

    Where they lie `between` each other, a tile of one would be single elements in DRAM's bursts: a
    tile of the result has all groups, and is stored when the last one is in it. Where they do not,
    or are scattered, a tile has one: a store has not the axes for several.
    """
    groups, k = node.attrs["group"], channels.bound // node.attrs["group"]
    group, filters = Dim(groups, (("g", 1),)), Dim(k, (("k", 1),))
    n, _, *pixels = build.box
    build.box, out = (n, group, filters, *pixels), None
    if between:
        out = build.gather("group", build.box, ("g",))
        build.box = (n, Dim.whole(groups), filters, *pixels)
        build.orders = AROUND_GROUPS
    else:
        build.single = ("g",)
    requantize(build, node, "ngkpq", channels=channels, out=out)


AROUND_GROUPS = ("n", "p", "q", "k", "g", "c"), ("k", "n", "p", "q", "g", "c")
"""Orders of loops in which a tile of the result has all groups before the next one begins."""


def seen(build: Builder, node: Node, out: Dim, axis: int) -> Dim:
    """The rows (axis 0) or columns (1) of the ifmap under those of the result in `out`."""
    size, taps = (build.tensor(i).shape[2 + axis] for i in node.inputs[:2])
    stride, dilation, pad = (node.attrs[a][axis] for a in ("strides", "dilations", "pads"))
    terms = tuple((var, scale * stride) for var, scale in out.terms)
    extent = (out.extent - 1) * stride + (taps - 1) * dilation + 1
    return Dim(size, terms, out.offset * stride - pad, extent)


def read_weights(
    build: Builder, node: Node, filters: Dim, channels: Dim, suffix: str = ""
) -> dict[str, tuple[str, str]]:
    """The weights of these filters and channels, and their zero points if they have several."""
    taps = map(Dim.whole, build.tensor(node.inputs[1]).shape[2:])
    box, zeros = (filters, channels, *taps), f"zeros{suffix}"
    weight = build.read(f"weight{suffix}", node.inputs[1], box, "weight")
    return {"weight": weight, **weight_zeros(build, node, filters, zeros)}


def array_attrs(build: Builder, node: Node) -> dict[str, Any]:
    """The numbers of its step on the array."""
    x, w = (build.tensor(name) for name in node.inputs[:2])
    (sy, sx), (dy, dx), (r, s) = node.attrs["strides"], node.attrs["dilations"], w.shape[2:]
    return {
        "ifmap_axes": "nchw", "weight_axes": "kcrs", "psum_axes": "nkpq",
        "r": r, "s": s, "stride_y": sy, "stride_x": sx, "dilation_y": dy, "dilation_x": dx,
        "ifmap_zero": scalar_quant(x)[1],
        "weight_zero": 0 if "zeros" in node.attrs else scalar_quant(w)[1],
    }  # fmt: skip


def build(match: Match, x: str, w: str, attrs: dict[str, object]) -> Node:
    inputs = [x, w]
    if len(match.node.inputs) > 2 and match.node.inputs[2]:
        units = match.quant(x).scale.astype(np.float64) * match.quant(w).scale
        units = np.broadcast_to(units, match.shape(w)[:1])
        inputs.append(match.bias_of(match.node.inputs[2], units))
    x, attrs["pads"] = absorb_pad(match, x, attrs["pads"])
    inputs[0], attrs["strides"] = sampled(match, x, match.shape(w)[2:], attrs)
    return match.make("conv2d", inputs, group=match.attr("group", 1), **attrs)


def absorb_pad(match: Match, x: str, pads: object) -> tuple[str, object]:
    """The tensor before an integer Pad by its zero point, and the convolution's pads with it."""
    pad = match.edit.producer(x)
    if pad is None or pad.op != "pad" or match.edit.tensors[pad.inputs[0]].quant != match.quant(x):
        return x, pads
    before, after = pad.attrs["before"], pad.attrs["after"]
    if any(before[:2]) or any(after[:2]) or pad.attrs["value"] != match.quant(x).zero[0]:
        return x, pads
    assert isinstance(pads, tuple)
    more = (*before[2:], *after[2:])
    return pad.inputs[0], tuple(int(a + b) for a, b in zip(pads, more, strict=True))


def sampled(
    match: Match, x: str, kernel: Sequence[int], attrs: Mapping[str, Any]
) -> tuple[str, tuple[int, int]]:
    """Along an axis with one tap, strides skip pixels: a view of those that are read, without
    stride. So no others are moved, nor take room on chip."""
    strides, pads, size = attrs["strides"], attrs["pads"], match.shape(x)
    skips = [kernel[i] == 1 < strides[i] and not (pads[i] or pads[i + 2]) for i in (0, 1)]
    if not any(skips):
        return x, strides
    steps = (1, 1, *(s if skip else 1 for s, skip in zip(strides, skips, strict=True)))
    shape = tuple(-(-n // step) for n, step in zip(size, steps, strict=True))
    name = match.edit.like(x, f"{x}.sampled", shape=shape)
    spans = {"starts": (0, 0, 0, 0), "stops": size, "steps": steps}
    match.edit.emit(Node("slice", (x,), (name,), spans, loc=match.loc))
    rows, columns = (1 if skip else s for s, skip in zip(strides, skips, strict=True))
    return name, (rows, columns)


def recognize_1d(match: Match, x: str, w: str) -> Node:
    """A 1-D convolution is a 2-D one of height 1."""
    n, c, length = match.shape(x)
    k, depth, taps = match.shape(w)
    attrs = window_attrs(match.node, (1, taps))
    x, w = match.reshaped(x, (n, c, 1, length)), match.reshaped(w, (k, depth, 1, taps))
    inner = match.inside((n, k, 1, match.result.shape[2]))
    return inner.view_as(match, build(inner, x, w, attrs))


def convolve(x: Array, w: Array, node: Node) -> Array:
    """Exact sums in float64: one matrix product per filter tap, batched over images and groups."""
    group, (sy, sx), (dy, dx) = (node.attrs[a] for a in ("group", "strides", "dilations"))
    taps_y, taps_x = w.shape[2:]
    rows, columns = output_size(x.shape[2:], w.shape[2:], {**node.attrs, "pads": (0, 0, 0, 0)})
    x = x.reshape(x.shape[0], group, -1, *x.shape[2:])
    w = w.reshape(group, -1, *w.shape[1:])
    sums = np.zeros((x.shape[0], group, w.shape[1], rows * columns))
    for r, s in np.ndindex(taps_y, taps_x):
        top, left = r * dy, s * dx
        seen = x[..., top : top + rows * sy : sy, left : left + columns * sx : sx]
        sums += w[..., r, s] @ seen[..., :rows, :columns].reshape(*x.shape[:3], -1)
    return sums.reshape(x.shape[0], -1, rows, columns)
