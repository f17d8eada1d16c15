"""Elements repeated, as ONNX Expand and Tile."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from dnncc.isa import vector

from ..ir.graph import Array, Node
from ..mapping.build import OUT, Builder, broadcast_box, elementwise_box
from ..mapping.workload import StepSpec
from .match import Match, Refused
from .op import Op, Tensors, operand_reason

if TYPE_CHECKING:
    from dnncc.targets import Target


class Expand(Op, name="expand", onnx=("Expand",)):
    """x along each axis as often as the result is larger; x's axes there have size 1.

    attrs: shape. Each element is loaded once and written as often as it is repeated.
    """

    @classmethod
    def shape(cls, node: Node, tensors: Tensors) -> tuple[int, ...]:
        return np.broadcast_shapes(tensors[node.inputs[0]].shape, node.attrs["shape"])

    @classmethod
    def run(cls, node: Node, tensors: Tensors, inputs: Sequence[Array]) -> Array:
        return np.broadcast_to(inputs[0], node.attrs["shape"]).copy()

    @classmethod
    def recognize(cls, match: Match) -> Node:
        x, shape = match.node.inputs[0], match.result.shape
        sizes = (1,) * (len(shape) - len(match.shape(x))) + match.shape(x)
        axes = [Axis(n, y // n, n == 1) for n, y in zip(sizes, shape, strict=True)]
        return repeated(match, x, axes)

    @classmethod
    def reason_not(cls, node: Node, tensors: Tensors, target: Target | None) -> str | None:
        return operand_reason(node, tensors)

    @classmethod
    def lower(cls, build: Builder, node: Node) -> None:
        build.box = elementwise_box(build, build.tensor(node.outputs[0]).shape)
        box = broadcast_box(build.tensor(node.inputs[0]).shape, build.box)
        uses = {"x": build.read("ifmap", node.inputs[0], box), "out": (OUT, node.outputs[0])}
        build.outer.append(StepSpec("map", uses, {"op": vector.COPY}))


class Tile(Op, onnx=("Tile",)):
    """It is recognised as `expand`, so no node of the Graph is one."""

    @classmethod
    def recognize(cls, match: Match) -> Node:
        x, times = match.node.inputs[0], match.edit.value(match.node.inputs[1])
        if times is None or times.size != len(match.shape(x)):
            raise Refused("its repeats are not constant, one per axis")
        axes = [Axis(n, int(t), True) for n, t in zip(match.shape(x), times, strict=True)]
        return repeated(match, x, axes)


class Axis(NamedTuple):
    """An axis of `size` elements, `times`: all of them (`whole`) again and again, or each."""

    size: int
    times: int
    whole: bool


def repeated(match: Match, x: str, axes: Sequence[Axis]) -> Node:
    """The node whose result is x, repeated along its axes, in as few axes as can be."""
    before, after = [1], [1]
    for size, times, whole in axes:
        pairs = [(1, times), (size, size)]
        for old, new in pairs if whole else pairs[::-1]:
            merge(before, after, old, new)
    inner = match.inside(after)
    source = match.reshaped(x, before)
    made = Node("expand", (source,), (inner.output,), {"shape": tuple(after)}, loc=match.loc)
    return inner.view_as(match, made)


def merge(before: list[int], after: list[int], old: int, new: int) -> None:
    """Add an axis, or make the last one longer if both are repeated, or neither is."""
    last_repeats, repeats = before[-1] != after[-1], old != new
    if new == 1:
        return
    if last_repeats == repeats or after[-1] == 1:
        before[-1], after[-1] = before[-1] * old, after[-1] * new
    else:
        before.append(old)
        after.append(new)
