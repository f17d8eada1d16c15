"""Pooling of quantised tensors, as ONNX MaxPool and com.microsoft QLinearAveragePool."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from msgspec import Struct

from dnncc.isa import numerics, vector

from ..ir.graph import Array, Node
from ..ir.ring import MOST_ROWS
from ..ir.tile import Box, Dim
from ..mapping.build import (
    OUT,
    WINDOW_OF_ONE,
    Builder,
    requantize,
    requantizing,
    scalar_quant,
)
from ..mapping.workload import PSUM_DTYPE, Access, StepSpec
from .match import Match, Refused, dequantize
from .op import LARGEST_WINDOW, Op, Tensors, limits, operand_reason, window_reason
from .scale import quant_of
from .window import output_size, padded, taps, window_attrs

if TYPE_CHECKING:
    from dnncc.targets import Target


class Pool(Op):
    @classmethod
    def shape(cls, node: Node, tensors: Tensors) -> tuple[int, ...]:
        x = tensors[node.inputs[0]].shape
        return *x[:2], *output_size(x[2:], node.attrs["kernel"], node.attrs)

    @classmethod
    def reason_not(cls, node: Node, tensors: Tensors, target: Target | None) -> str | None:
        x = tensors[node.inputs[0]]
        if len(x.shape) != 4:
            return "it does not have two spatial dimensions"
        reason = window_reason(node, node.attrs["kernel"])
        both = {x.dtype, tensors[node.outputs[0]].dtype}
        is_real = both == {np.dtype(np.float32)} and cls.takes_real and x.size
        return reason if reason or is_real else operand_reason(node, tensors)

    takes_real = False
    """It is the same of float32 numbers."""

    @classmethod
    def lower(cls, build: Builder, node: Node) -> None:
        n, channels, p, q = build.tensor(node.outputs[0]).shape
        build.dims |= {"n": n, "k": channels, "p": p, "q": q}
        plane = (Dim(n, (("n", 1),)), Dim(channels, (("k", 1),)))
        build.box = (*plane, Dim(p, (("p", 1),)), Dim(q, (("q", 1),)))
        seen = (*plane, *under(build, node).values())
        uses = {"x": build.read("ifmap", node.inputs[0], seen), "out": (OUT, node.outputs[0])}
        build.outer.append(cls.step(build, node, uses))

    @classmethod
    def lower_onto(cls, build: Builder, node: Node) -> None:
        """The group's loops go over the pool's result: what they went over is under it."""
        (name,), (*_, p, q) = node.inputs, build.tensor(node.outputs[0]).shape
        late, seen = 0, under(build, node)
        if build.group.attrs.get("carried"):
            late = carry(build, name, seen, p)
        else:
            build.substitute(seen)
            build.hold("pooled", name)
        build.dims |= {"p": p + late, "q": q}
        build.box = (*build.box[:2], Dim(p, (("p", 1),), -late), Dim(q, (("q", 1),)))
        uses = {"x": ("pooled", name), "out": (OUT, node.outputs[0])}
        build.outer.append(cls.step(build, node, uses))

    @classmethod
    def lower_before(cls, build: Builder, node: Node) -> None:
        seen = under(build, node)

        def windows(box: Box) -> Box:
            return (*box[:2], seen["p"].at(box[2]), seen["q"].at(box[3]))

        uses = build.prepare(node.outputs[0], node.inputs[0], windows)
        build.inner.insert(0, cls.step(build, node, uses))

    @classmethod
    def step(cls, build: Builder, node: Node, uses: Mapping[str, tuple[str, str]]) -> StepSpec:
        (r, s), (sy, sx) = node.attrs["kernel"], node.attrs["strides"]
        dy, dx = node.attrs.get("dilations", (1, 1))
        quants = (scalar_quant(build.tensor(i)) for i in (node.inputs[0], node.outputs[0]))
        (x_scale, x_zero), (y_scale, y_zero) = quants
        attrs = {
            "axes": "nchw", "out_axes": "ncpq", "op": cls.code(node),
            "r": r, "s": s, "stride_y": sy, "stride_x": sx, "dilation_y": dy, "dilation_x": dx,
            "include_pad": int(bool(node.attrs.get("count_include_pad", 0))),
            "x_zero": x_zero, "out_zero": y_zero, "x_scale": x_scale, "out_scale": y_scale,
            "low": node.attrs.get("low", -128), "high": node.attrs.get("high", 127),
        }  # fmt: skip
        return StepSpec("pool", uses, attrs)

    @classmethod
    def code(cls, node: Node) -> int:
        """The operation of the vector instruction."""
        raise NotImplementedError(cls.name)


def under(build: Builder, node: Node) -> dict[str, Dim]:
    """By the loops p and q over a pool's result, the rows and columns of its operand under it."""
    tensors = build.graph.tensors
    return {"p": rows_under(node, tensors), "q": windows(node, tensors, "q", 1)}


def rows_under(node: Node, tensors: Tensors) -> Dim:
    return windows(node, tensors, "p", 0)


def windows(node: Node, tensors: Tensors, var: str, axis: int) -> Dim:
    """What windows along one axis of the plane cover of the operand."""
    size, taps = tensors[node.inputs[0]].shape[2 + axis], node.attrs["kernel"][axis]
    stride, dilation = (node.attrs.get(n, (1, 1))[axis] for n in ("strides", "dilations"))
    return Dim(size, ((var, stride),), -node.attrs["pads"][axis], (taps - 1) * dilation + 1)


class Carrying(Struct, frozen=True):
    """How tiles of what is pooled hand on rows: an iteration adds `stride` rows for each of its
    indices, and pools the windows that are complete with these, which are `late` by so many
    indices. It takes `least` indices, so that the first one has a window, and a ring of what two
    iterations add has room for what they read; and `most`, as such a ring has."""

    stride: int
    late: int
    least: int
    most: int

    @classmethod
    def of(cls, rows: Dim) -> Carrying:
        """Of the rows under a pool's result."""
        ((_, stride),) = rows.terms
        late = -(-(rows.extent + rows.offset) // stride) - 1
        least = late + max(1, -(rows.offset // stride))
        return cls(stride, late, least, MOST_ROWS // (2 * stride))


def carries(node: Node, tensors: Tensors) -> bool:
    """Whether windows of a pool share rows with those below, which tiles can hand on."""
    if node.op not in ("maxpool", "avgpool"):
        return False
    rows, count = rows_under(node, tensors), tensors[node.outputs[0]].shape[2]
    way = Carrying.of(rows)
    fits = 0 <= way.late and way.least <= min(way.most, count + way.late - 1)
    inside = way.stride * (count + way.late - 1) < rows.bound
    return way.stride < rows.extent and fits and inside


def carry(build: Builder, name: str, seen: Mapping[str, Dim], count: int) -> int:
    """Put rows of the result so far, `name`, into a ring, where there are `count` windows below
    each other; how late these are. The loop over rows is inside of the others."""
    rows, way = seen["p"], Carrying.of(seen["p"])
    build.substitute({**seen, "p": Dim(rows.bound, rows.terms, 0, way.stride)})
    offset = rows.offset - way.stride * way.late
    read = Dim(rows.bound, rows.terms, offset, rows.extent)
    build.hold("pooled", name, (*build.box[:2], read, build.box[3]), "p")
    sums = build.reduction
    outer = [v for v in build.dims if v not in ("p", "q", *sums)]
    build.orders = tuple({(*some, "p", *sums): () for some in ([*outer, "q"], ["q", *outer])})
    build.limits["p"] = way.least, min(way.most, count + way.late - 1)
    return way.late


def pool_attrs(node: Node) -> dict[str, Any]:
    """A window of one dimension is one of height 1."""
    kernel = tuple(node.attrs["kernel_shape"])
    if len(kernel) not in (1, 2):
        raise Refused(f"it has {len(kernel)} spatial dimensions, not 1 or 2")
    return {"kernel": (1, *kernel)[-2:], **window_attrs(node, kernel)}


def flat(match: Match, x: str) -> tuple[Match, str]:
    """The match and its input in two dimensions; rows of one dimension are planes of height 1."""
    if len(match.shape(x)) == 4:
        return match, x
    (n, c, length), (*_, out) = match.shape(x), match.result.shape
    return match.inside((n, c, 1, out)), match.reshaped(x, (n, c, 1, length))


def shaped(match: Match, inner: Match, node: Node) -> Node:
    """`node`, which computes the result of `inner`, or the view of it that has the right shape."""
    return node if inner is match else inner.view_as(match, node)


class MaxPool(Pool, name="maxpool", onnx=("MaxPool",)):
    """The greatest element of each window; padding never wins.

    attrs: kernel, strides, pads (top, left, bottom, right), dilations.
    """

    takes_real = True

    @classmethod
    def run(cls, node: Node, tensors: Tensors, inputs: Sequence[Array]) -> Array:
        (x,) = inputs
        out = cls.shape(node, tensors)[2:]
        lowest = -np.inf if x.dtype.kind == "f" else limits(x.dtype)[0]
        framed = padded(x, node.attrs["pads"], lowest)
        best: Array = taps(framed, node.attrs, out).max(axis=0)
        return best

    @classmethod
    def recognize(cls, match: Match) -> Node:
        if len(match.node.outputs) > 1 and match.node.outputs[1]:
            raise Refused("its indices are used")
        attrs = pool_attrs(match.node)
        inner, x = flat(match, match.node.inputs[0])
        return shaped(match, inner, Node("maxpool", (x,), (inner.output,), attrs, loc=match.loc))

    @classmethod
    def code(cls, node: Node) -> int:
        return vector.MAX


class AveragePool(Pool, name="avgpool", onnx=("AveragePool", "GlobalAveragePool", "ReduceMean")):
    """The mean of each window: dequantised, summed row by row in float32, divided, quantised.

    attrs: as maxpool, and count_include_pad, low, high, and rounding: "integer" if the zero point
    is added before rounding, "lifted" if that and 128, else "float". onnxruntime:
    contrib_ops/cpu/quantization/qlinear_pool.cc, or QuantizeLinear of the float AveragePool.
    """

    @classmethod
    def run(cls, node: Node, tensors: Tensors, inputs: Sequence[Array]) -> Array:
        out = tensors[node.outputs[0]]
        real = dequantize(inputs[0], quant_of(tensors, node.inputs[0]))
        total = np.zeros(out.shape, np.float32)
        for tap in taps(padded(real, node.attrs["pads"], 0), node.attrs, out.shape[2:]):
            total += tap
        y = quant_of(tensors, out.name)
        steps: Array = total / counts(node, real.shape[2:], out.shape[2:]) / y.scale
        lift = 128 * (node.attrs["rounding"] == "lifted")
        first = np.float32(0 if node.attrs["rounding"] == "float" else y.zero + lift)
        placed: Array = np.rint(steps + first) - first + np.float32(y.zero)
        return np.clip(placed, node.attrs["low"], node.attrs["high"]).astype(out.dtype)

    @classmethod
    def recognize(cls, match: Match) -> Node:
        x = match.operand(0)
        if match.node.op != "onnx.AveragePool":
            return recognize_mean(match, x)
        attrs = pool_attrs(match.node)
        inner, x = flat(match, x)
        rounding = match.attr("kernel", "float")
        whole = attrs["kernel"] == match.shape(x)[2:] and not any(attrs["pads"])
        if rounding != "float" and whole:
            return shaped(match, inner, inner.make("global_avgpool", [x]))
        attrs |= {"count_include_pad": match.attr("count_include_pad", 0), "rounding": rounding}
        return shaped(match, inner, inner.make("avgpool", [x], **attrs))

    @classmethod
    def code(cls, node: Node) -> int:
        return ROUNDINGS[node.attrs["rounding"]]


ROUNDINGS = {"integer": vector.AVERAGE, "lifted": vector.LIFTED, "float": vector.MEAN}


def counts(node: Node, size: Sequence[int], out: Sequence[int]) -> Array:
    """Elements that each mean is of."""
    kernel, framed = node.attrs["kernel"], np.ones((1, 1, *size), np.float32)
    if node.attrs["count_include_pad"]:
        return np.full(1, kernel[0] * kernel[1], np.float32)
    total: Array = taps(padded(framed, node.attrs["pads"], 0), node.attrs, out).sum(axis=0)
    return total


def recognize_mean(match: Match, x: str) -> Node:
    """A mean over the last axes: an average pool whose window is all of the plane."""
    shape = match.shape(x)
    kept = 2 if match.node.op == "onnx.GlobalAveragePool" else first_reduced(match, len(shape))
    plane = shape[kept:] if len(shape) - kept == 2 else (1, math.prod(shape[kept:]))
    frame = (1, math.prod(shape[:kept]), *plane)
    inner = match.inside((*frame[:2], 1, 1))
    source = match.reshaped(x, frame)
    if match.attr("kernel", "float") != "float":
        return inner.view_as(match, inner.make("global_avgpool", [source]))
    once = {"strides": (1, 1), "dilations": (1, 1), "pads": (0, 0, 0, 0)}
    extra = {"kernel": plane, "count_include_pad": 0, "rounding": "float", **once}
    return inner.view_as(match, inner.make("avgpool", [source], **extra))


class GlobalAveragePool(Op, name="global_avgpool"):
    """The mean of each plane of [N, C, H, W], as [N, C, 1, 1]: an int32 sum, requantised once.

    attrs: low, high. onnxruntime: contrib_ops/cpu/quantization/qlinear_global_average_pool.cc.
    """

    @classmethod
    def shape(cls, node: Node, tensors: Tensors) -> tuple[int, ...]:
        return *tensors[node.inputs[0]].shape[:2], 1, 1

    @classmethod
    def reason_not(cls, node: Node, tensors: Tensors, target: Target | None) -> str | None:
        if max(tensors[node.inputs[0]].shape[2:]) > LARGEST_WINDOW:
            return f"planes of more than {LARGEST_WINDOW} rows or columns"
        return operand_reason(node, tensors)

    @classmethod
    def run(cls, node: Node, tensors: Tensors, inputs: Sequence[Array]) -> Array:
        x, y = quant_of(tensors, node.inputs[0]), quant_of(tensors, node.outputs[0])
        total = (inputs[0].astype(np.int32) - x.zero).sum(
            axis=(2, 3), keepdims=True, dtype=np.int32
        )
        low, high = node.attrs["low"], node.attrs["high"]
        dtype = tensors[node.outputs[0]].dtype
        scale = mean_scale(node, tensors)
        return numerics.requantize(total, scale, int(y.zero[0]), low, high, dtype)

    @classmethod
    def lower(cls, build: Builder, node: Node) -> None:
        """Integer sums of whole planes as psums, then requantised."""
        n, channels, h, w = build.tensor(node.inputs[0]).shape
        build.dims |= {"n": n, "k": channels, "p": 1, "q": 1}
        plane = (Dim(n, (("n", 1),)), Dim(channels, (("k", 1),)))
        build.box = (*plane, Dim.whole(1), Dim.whole(1))
        x = build.read("ifmap", node.inputs[0], (*plane, Dim.whole(h), Dim.whole(w)))
        build.outer.append(cls.step(build, node, {"x": x, "out": build.accumulate(build.box)}))
        requantize(build, node, "nkpq")

    @classmethod
    def lower_onto(cls, build: Builder, node: Node) -> None:
        """Tiles of what the group has made so far are whole planes."""
        (name,), (*_, h, w) = node.inputs, build.tensor(node.inputs[0]).shape
        build.substitute({"p": Dim.whole(h), "q": Dim.whole(w)})
        build.hold("pooled", name)
        build.dims |= {"p": 1, "q": 1}
        build.box = (*build.box[:2], Dim.whole(1), Dim.whole(1))
        total = Access("total", "", build.box, "psum", PSUM_DTYPE, build.reduction)
        build.temps.append(total)
        held = "total", ""
        build.outer.append(cls.step(build, node, {"x": ("pooled", name), "out": held}))
        uses = {"psum": held, "out": (OUT, node.outputs[0])}
        last = requantizing(build, node, "nkpq", build.box[1], uses, "params2")
        build.outer.append(last)

    @classmethod
    def step(cls, build: Builder, node: Node, uses: Mapping[str, tuple[str, str]]) -> StepSpec:
        x = build.tensor(node.inputs[0])
        window = {"r": x.shape[2], "s": x.shape[3], "x_zero": scalar_quant(x)[1]}
        axes = {"axes": "nchw", "out_axes": "ncpq", "op": vector.SUM}
        return StepSpec("pool", uses, {**WINDOW_OF_ONE, **axes, **window})


def mean_scale(node: Node, tensors: Tensors) -> Array:
    """float32[1]: what `global_avgpool` multiplies its sum with."""
    x, y = quant_of(tensors, node.inputs[0]), quant_of(tensors, node.outputs[0])
    count = np.float32(math.prod(tensors[node.inputs[0]].shape[2:]))
    return np.asarray(x.scale / (y.scale * count), np.float32)


def first_reduced(match: Match, rank: int) -> int:
    """ReduceMean over the last axes: the first of them."""
    axes = match.attr("axes", None)
    if axes is None and len(match.node.inputs) > 1 and match.node.inputs[1]:
        value = match.edit.value(match.node.inputs[1])
        axes = None if value is None else value.tolist()
    if axes is None:
        raise Refused("the axes of its mean are not constant")
    reduced = sorted(a % rank for a in axes)
    if reduced != list(range(rank - len(reduced), rank)) or len(reduced) in (0, rank):
        raise Refused(f"a mean over axes {tuple(reduced)}, which are not the last ones")
    return int(reduced[0])
