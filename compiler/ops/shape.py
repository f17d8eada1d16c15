"""Operators that move elements and compute nothing."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import TYPE_CHECKING

import numpy as np

from dnncc.isa import vector

from ..ir.graph import Array, Node
from ..mapping.build import OUT, Builder, elementwise_box
from ..mapping.workload import StepSpec
from .join import Join, Place
from .match import Match, Refused, dequantize, quantize
from .op import Op, Tensors, limits, operand_reason
from .table import entries
from .take import taken

if TYPE_CHECKING:
    from dnncc.targets import Target


class Reshape(Op, name="reshape", onnx=("Reshape",)):
    """The same elements, in the same order, as the shape of the result; also for a new scale."""

    is_view = True

    @classmethod
    def shape(cls, node: Node, tensors: Tensors) -> tuple[int, ...]:
        """Any of the input's size: the result's own declaration decides."""
        before, after = tensors[node.inputs[0]], tensors[node.outputs[0]]
        return after.shape if before.size == after.size else before.shape

    @classmethod
    def run(cls, node: Node, tensors: Tensors, inputs: Sequence[Array]) -> Array:
        return inputs[0].reshape(tensors[node.outputs[0]].shape)

    @classmethod
    def recognize(cls, match: Match) -> Node:
        return Node("reshape", match.node.inputs[:1], match.node.outputs, loc=match.loc)


class Transpose(Op, name="transpose", onnx=("Transpose",)):
    """ONNX Transpose. attrs: perm."""

    is_view = True

    @classmethod
    def shape(cls, node: Node, tensors: Tensors) -> tuple[int, ...]:
        shape = tensors[node.inputs[0]].shape
        return tuple(shape[axis] for axis in node.attrs["perm"])

    @classmethod
    def run(cls, node: Node, tensors: Tensors, inputs: Sequence[Array]) -> Array:
        return inputs[0].transpose(node.attrs["perm"])

    @classmethod
    def recognize(cls, match: Match) -> Node:
        rank = len(match.shape(match.node.inputs[0]))
        perm = tuple(match.attr("perm", range(rank)[::-1]))
        return Node(
            "transpose", match.node.inputs, match.node.outputs, {"perm": perm}, loc=match.loc
        )


class Slice(Op, name="slice", onnx=("Slice",)):
    """ONNX Slice with positive steps; others are of single elements.

    attrs: starts, stops, steps, one per axis.
    """

    is_view = True

    @classmethod
    def shape(cls, node: Node, tensors: Tensors) -> tuple[int, ...]:
        return tuple(len(range(*span)) for span in spans(node))

    @classmethod
    def run(cls, node: Node, tensors: Tensors, inputs: Sequence[Array]) -> Array:
        return inputs[0][tuple(slice(*span) for span in spans(node))]

    @classmethod
    def recognize(cls, match: Match) -> Node:
        shape = match.shape(match.node.inputs[0])
        ranges = [slice(0, size, 1) for size in shape]
        starts, ends, axes, steps = slice_arguments(match, len(shape))
        for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
            ranges[axis] = slice(start, end, step)
        if min(steps, default=1) < 0:
            picked = [list(range(*r.indices(n))) for r, n in zip(ranges, shape, strict=True)]
            chosen = {axis: picked[axis] for axis in axes}
            return taken(match, match.node.inputs[0], chosen)
        bounds = [r.indices(size) for r, size in zip(ranges, shape, strict=True)]
        attrs = dict(zip(("starts", "stops", "steps"), zip(*bounds, strict=True), strict=True))
        return Node("slice", match.node.inputs[:1], match.node.outputs, attrs, loc=match.loc)


def spans(node: Node) -> list[tuple[int, int, int]]:
    attrs = node.attrs
    return list(zip(attrs["starts"], attrs["stops"], attrs["steps"], strict=True))


def slice_arguments(match: Match, rank: int) -> list[list[int]]:
    """starts, ends, axes, steps, as attributes (opset < 10) or constant inputs."""
    found: list[list[int] | None] = []
    for position, name in enumerate(("starts", "ends", "axes", "steps"), 1):
        given = match.attr(name, None)
        if given is None and len(match.node.inputs) > position and match.node.inputs[position]:
            value = match.edit.value(match.node.inputs[position])
            if value is None:
                raise Refused(f"its {name} are not constant")
            given = value.tolist()
        found.append(None if given is None else [int(v) for v in np.ravel(given)])
    starts, ends, axes, steps = found
    if starts is None or ends is None:
        raise Refused("a slice without bounds")
    axes = list(range(len(starts))) if axes is None else axes
    return [starts, ends, [a % rank for a in axes], steps or [1] * len(starts)]


class Concat(Join, name="concat", onnx=("Concat",)):
    """ONNX Concat of tensors with one quantisation. attrs: axis (not negative)."""

    @classmethod
    def places(cls, node: Node, tensors: Tensors) -> list[Place]:
        axis, rank = node.attrs["axis"], len(tensors[node.outputs[0]].shape)
        sizes = [tensors[i].shape[axis] for i in node.inputs]
        starts = accumulate(sizes[:-1], initial=0)
        return [Place(tuple(s * (a == axis) for a in range(rank)), (1,) * rank) for s in starts]

    @classmethod
    def shape(cls, node: Node, tensors: Tensors) -> tuple[int, ...]:
        shapes = [tensors[i].shape for i in node.inputs]
        axis = node.attrs["axis"]
        total = sum(shape[axis] for shape in shapes)
        return *shapes[0][:axis], total, *shapes[0][axis + 1 :]

    @classmethod
    def run(cls, node: Node, tensors: Tensors, inputs: Sequence[Array]) -> Array:
        return np.concatenate(inputs, node.attrs["axis"])

    @classmethod
    def recognize(cls, match: Match) -> Node:
        axis = match.attr("axis", 1) % len(match.result.shape)
        parts = tuple(requantized(match, i) for i in range(len(match.node.inputs)))
        return Node("concat", parts, (match.output,), {"axis": axis}, loc=match.loc)


def requantized(match: Match, index: int) -> str:
    """Input `index`, in steps of the result's and clamped: through a table, or through float32."""
    name, want = match.operand(index), match.result
    part, clamp = match.edit.tensors[name], (match.low, match.high)
    if (part.quant, part.dtype, clamp) == (want.quant, want.dtype, limits(want.dtype)):
        return name
    if part.quant is None or want.quant is None or part.quant.axis is not None:
        raise Refused(f"its input '{name}' is quantised otherwise")
    if part.dtype.itemsize != 1:
        return rescaled(match, name)
    values = quantize(dequantize(entries(part.dtype), part.quant), want.quant, want.dtype)
    table = match.edit.constant(f"{name}.table", np.clip(values, *clamp))
    new = match.edit.like(name, f"{name}.requantized", dtype=want.dtype, quant=want.quant)
    match.edit.emit(Node("lut", (name, table), (new,), loc=match.loc))
    return new


def rescaled(match: Match, name: str) -> str:
    """`name` dequantised, clamped, and quantised as the result is."""
    edit, want = match.edit, match.result
    real = edit.tensor(f"{name}.real", match.shape(name), np.float32)
    edit.emit(Node("dequantize", (name,), (real,), loc=match.loc))
    whole, quant = limits(want.dtype), match.quant(match.output)
    for function, bound, end in zip(("max", "min"), (match.low, match.high), whole, strict=True):
        if bound != end:
            limit = edit.constant(f"{name}.{function}", dequantize(np.array(bound), quant))
            source, real = real, edit.tensor(f"{name}.{function}", match.shape(name), np.float32)
            attrs = {"function": function}
            edit.emit(Node("binary", (source, limit), (real,), attrs, loc=match.loc))
    new = edit.like(name, f"{name}.rescaled", dtype=want.dtype, quant=want.quant)
    edit.emit(Node("quantize", (real,), (new,), loc=match.loc))
    return new


class Copy(Op, name="copy"):
    """The same tensor, stored elsewhere or in another order."""

    @classmethod
    def shape(cls, node: Node, tensors: Tensors) -> tuple[int, ...]:
        return tensors[node.inputs[0]].shape

    @classmethod
    def run(cls, node: Node, tensors: Tensors, inputs: Sequence[Array]) -> Array:
        return inputs[0]

    @classmethod
    def reason_not(cls, node: Node, tensors: Tensors, target: Target | None) -> str | None:
        return operand_reason(node, tensors)

    @classmethod
    def lower(cls, build: Builder, node: Node) -> None:
        build.box = elementwise_box(build, build.tensor(node.outputs[0]).shape)
        uses = {"x": build.read("ifmap", node.inputs[0], build.box), "out": (OUT, node.outputs[0])}
        build.outer.append(StepSpec("map", uses, {"op": vector.COPY}))
