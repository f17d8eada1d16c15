"""Steps of the vector engine on plain numbers: float32, and integers that have no scale.

They come in regions: a group of such nodes runs on one tile, which holds what lies between them. A
region's loops are over the axes that none of its nodes folds; those are whole in every tile.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from dnncc.isa import numerics, vector

from ..ir.graph import Array, Node
from ..ir.tile import Box, Dim
from ..mapping.build import (
    OUT,
    PLANE,
    RESULT_AXES,
    WINDOW_OF_ONE,
    Builder,
    broadcast_box,
    elementwise_box,
)
from ..mapping.workload import LARGEST_FIELD, Access, StepSpec, scratchpad_dtype
from .op import LARGEST_WINDOW, Op, Tensors

if TYPE_CHECKING:
    from dnncc.targets import Target

NUMBERS = tuple(map(np.dtype, ("float32", "int32", "int8", "uint8", "int16", "uint16", "bool")))
"""Truth values are bytes, 0 or 1."""

LONG = np.dtype(np.int64)
"""Only DRAM has it: what is stored as such is int32 on chip."""


class Lane(Op):
    """A step from blocks of numbers to a block of numbers."""

    @classmethod
    def reason_not(cls, node: Node, tensors: Tensors, target: Target | None) -> str | None:
        for name in (*node.inputs, *node.outputs):
            if tensors[name].dtype not in (NUMBERS if name in node.inputs else cls.results):
                return f"'{name}' is {tensors[name].dtype}, which the vector engine does not take"
            if not tensors[name].size:
                return f"'{name}' is empty"
        return cls.fold_reason(node, tensors, target)

    @classmethod
    def fold_reason(cls, node: Node, tensors: Tensors, target: Target | None) -> str | None:
        """Why what must be whole in a tile does not fit there."""
        axes, shape = cls.folded(node, tensors), tensors[node.inputs[0]].shape
        if not axes:
            return None
        if max(axes) > len(PLANE):
            return "it folds an axis before the last four"
        size = int(np.prod([shape[-axis] for axis in axes]))
        if size > LARGEST_FIELD or target and WHOLE_BYTES * size > on_chip(target):
            return f"{size} elements that must be on chip at once"
        return None

    @classmethod
    def folded(cls, node: Node, tensors: Tensors) -> frozenset[int]:
        """The axes, counted from the last (1), that must be whole in every tile."""
        return frozenset()

    @classmethod
    def lower(cls, build: Builder, node: Node) -> None:
        cls.lower_onto(build, node)

    @classmethod
    def lower_onto(cls, build: Builder, node: Node) -> None:
        if not build.space:
            open_region(build)
        roles = [cls.operand(build, node, name) for name in node.inputs]
        uses = dict(zip(cls.roles(node), roles, strict=True))
        uses["out"] = result(build, node, cls.in_place)
        build.outer.append(StepSpec(cls.instruction(node), uses, cls.numbers(build, node)))

    results: ClassVar[tuple[np.dtype[Any], ...]] = NUMBERS
    in_place = True
    """An element of the result only depends on those of the operands that are at its place."""

    @classmethod
    def operand(cls, build: Builder, node: Node, name: str) -> tuple[str, str]:
        return operand(build, name)

    @classmethod
    def blocks(cls, node: Node) -> tuple[str, ...]:
        """The node's values that have the region's shape, or a part of it that broadcasts."""
        return *node.inputs, *node.outputs

    @classmethod
    def roles(cls, node: Node) -> Sequence[str]:
        """What the instruction calls the node's inputs."""
        return ("x",)

    @classmethod
    def instruction(cls, node: Node) -> str:
        return "map"

    @classmethod
    def numbers(cls, build: Builder, node: Node) -> dict[str, Any]:
        """The instruction's numbers."""
        raise NotImplementedError(cls.name)


WHOLE_BYTES = 8
"""Of an on-chip memory per element that must be whole: a float32, and as much beside it."""


class Binary(Lane, name="binary"):
    """add, sub, mul, div, max or min of two, with numpy broadcasting, saturating to the result's
    type: in float32 if one is, or to divide, else in int32. Or 1 where they are equal, or the first
    is less; or (keep) the first where the second is not 0, else 0. attrs: function.
    """

    @classmethod
    def shape(cls, node: Node, tensors: Tensors) -> tuple[int, ...]:
        return np.broadcast_shapes(*(tensors[i].shape for i in node.inputs))

    @classmethod
    def run(cls, node: Node, tensors: Tensors, inputs: Sequence[Array]) -> Array:
        code = vector.BINARY_CODES[node.attrs["function"]]
        return vector.binary(code, inputs[0], inputs[1], tensors[node.outputs[0]].dtype)

    @classmethod
    def roles(cls, node: Node) -> Sequence[str]:
        return ("a", "b")

    @classmethod
    def instruction(cls, node: Node) -> str:
        return "elementwise"

    @classmethod
    def numbers(cls, build: Builder, node: Node) -> dict[str, Any]:
        return {"op": vector.BINARY_CODES[node.attrs["function"]]}


class Unary(Lane, name="unary"):
    """A function of float32 numbers, rounded from float64. attrs: function."""

    @classmethod
    def shape(cls, node: Node, tensors: Tensors) -> tuple[int, ...]:
        return tensors[node.inputs[0]].shape

    @classmethod
    def run(cls, node: Node, tensors: Tensors, inputs: Sequence[Array]) -> Array:
        return vector.unary(vector.UNARY_CODES[node.attrs["function"]], inputs[0])

    @classmethod
    def numbers(cls, build: Builder, node: Node) -> dict[str, Any]:
        return {"op": vector.UNARY_CODES[node.attrs["function"]]}


class Cast(Lane, name="cast"):
    """The same number in another type, saturating; real ones are rounded, ties to even."""

    results = (*NUMBERS, LONG)

    @classmethod
    def shape(cls, node: Node, tensors: Tensors) -> tuple[int, ...]:
        return tensors[node.inputs[0]].shape

    @classmethod
    def run(cls, node: Node, tensors: Tensors, inputs: Sequence[Array]) -> Array:
        return numerics.saturate(inputs[0], tensors[node.outputs[0]].dtype)

    @classmethod
    def numbers(cls, build: Builder, node: Node) -> dict[str, Any]:
        return {"op": vector.COPY}


class Lookup(Lane, name="lookup"):
    """table[x - lowest value of x's type], of 256 float32; x has 8 bits, or values that fit there.
    attrs: first, the value of x at the table's start.
    """

    @classmethod
    def shape(cls, node: Node, tensors: Tensors) -> tuple[int, ...]:
        return tensors[node.inputs[0]].shape

    @classmethod
    def run(cls, node: Node, tensors: Tensors, inputs: Sequence[Array]) -> Array:
        x, table = inputs
        values: Array = table.take(x.astype(np.intp) - node.attrs["first"], mode="clip")
        return values

    @classmethod
    def operand(cls, build: Builder, node: Node, name: str) -> tuple[str, str]:
        if name != node.inputs[1]:
            return operand(build, name)
        whole = (Dim.whole(build.tensor(name).size),)
        return build.read(f"in{len(build.inputs)}", name, whole, "params")

    @classmethod
    def blocks(cls, node: Node) -> tuple[str, ...]:
        return node.inputs[0], *node.outputs

    @classmethod
    def roles(cls, node: Node) -> Sequence[str]:
        return ("x", "table")

    @classmethod
    def numbers(cls, build: Builder, node: Node) -> dict[str, Any]:
        return {"op": vector.TABLE, "first": node.attrs["first"]}


REDUCTIONS = {"sum": vector.REDUCE_SUM, "max": vector.REDUCE_MAX, "min": vector.REDUCE_MIN}


class Reduce(Lane, name="reduce"):
    """The sum, maximum or minimum over `axes` (not negative), which stay with size 1; a sum one
    after the other, the last axis innermost. attrs: function, axes.
    """

    in_place = False

    @classmethod
    def shape(cls, node: Node, tensors: Tensors) -> tuple[int, ...]:
        axes = node.attrs["axes"]
        return tuple(1 if i in axes else n for i, n in enumerate(tensors[node.inputs[0]].shape))

    @classmethod
    def run(cls, node: Node, tensors: Tensors, inputs: Sequence[Array]) -> Array:
        code, dtype = REDUCTIONS[node.attrs["function"]], tensors[node.outputs[0]].dtype
        return numerics.saturate(vector.reduced(code, inputs[0], node.attrs["axes"]), dtype)

    @classmethod
    def folded(cls, node: Node, tensors: Tensors) -> frozenset[int]:
        rank = len(tensors[node.inputs[0]].shape)
        return frozenset(rank - axis for axis in node.attrs["axes"])

    @classmethod
    def instruction(cls, node: Node) -> str:
        return "reduce"

    @classmethod
    def numbers(cls, build: Builder, node: Node) -> dict[str, Any]:
        return {"op": REDUCTIONS[node.attrs["function"]]}


class WindowSum(Lane, name="window_sum"):
    """The sum of `size` neighbours along the second axis, from `before` ones before; what is
    outside is skipped. Of float32, at most four axes. attrs: size, before.
    """

    in_place = False

    @classmethod
    def shape(cls, node: Node, tensors: Tensors) -> tuple[int, ...]:
        return tensors[node.inputs[0]].shape

    @classmethod
    def run(cls, node: Node, tensors: Tensors, inputs: Sequence[Array]) -> Array:
        (x,) = inputs
        size, before = node.attrs["size"], node.attrs["before"]
        around = [(0, 0)] * x.ndim
        around[1] = (before, size - 1 - before)
        framed, total = np.pad(x, around), np.zeros_like(x)
        for first in range(size):
            total += framed[:, first : first + x.shape[1]]
        return total

    @classmethod
    def reason_not(cls, node: Node, tensors: Tensors, target: Target | None) -> str | None:
        if node.attrs["size"] > LARGEST_WINDOW:
            return f"a window of more than {LARGEST_WINDOW}"
        return super().reason_not(node, tensors, target)

    @classmethod
    def folded(cls, node: Node, tensors: Tensors) -> frozenset[int]:
        return frozenset({len(tensors[node.inputs[0]].shape) - 1})

    @classmethod
    def instruction(cls, node: Node) -> str:
        return "pool"

    @classmethod
    def numbers(cls, build: Builder, node: Node) -> dict[str, Any]:
        rank = len(build.tensor(node.inputs[0]).shape)
        window = {"r": node.attrs["size"], "pad_top": node.attrs["before"], "op": vector.SUM}
        axes = {"axes": WINDOW_AXES[rank], "out_axes": WINDOW_AXES[rank].translate(RESULT_AXES)}
        return {**WINDOW_OF_ONE, **axes, **window}


WINDOW_AXES = {2: "nh", 3: "nhw", 4: "nhcw"}
"""By rank, what a pool calls the axes, the second being its rows."""


def open_region(build: Builder) -> None:
    """The loops of all the group's lane nodes; those that one of them folds are none. After
    another operator, they are its loops."""
    if build.box:
        build.space = build.box
        return
    tensors = build.graph.tensors
    space, folded = region(build.group.body, tensors)
    box = elementwise_box(build, space)
    build.space = tuple(
        Dim.whole(d.bound) if len(space) - i in folded else d for i, d in enumerate(box)
    )
    looped = {var for d in build.space for var in d.variables()}
    build.dims = {v: n if v in looped else 1 for v, n in build.dims.items()}
    build.box = box_of(build, build.group.outputs[0])


def region(body: Sequence[Node], tensors: Tensors) -> tuple[tuple[int, ...], frozenset[int]]:
    """The shape that the loops of some lane nodes cover, and the axes (from the last) that are
    whole. Raises ValueError where they have none in common."""
    lanes = [(node, op) for node in body if (op := lane(node)) is not None]
    names = (name for node, op in lanes for name in op.blocks(node))
    folded = frozenset[int]().union(*(op.folded(node, tensors) for node, op in lanes))
    return np.broadcast_shapes(*(tensors[name].shape for name in names)), folded


def lane(node: Node) -> type[Lane] | None:
    """The class of a lane node."""
    op = Op.named.get(node.op)
    return op if op is not None and issubclass(op, Lane) else None


def on_chip(target: Target) -> int:
    """Bytes for a tile and its result."""
    kinds: tuple[Any, ...] = ("ifmap", "ofmap")
    return min(target.memory_for(kind).bytes for kind in kinds)


def box_of(build: Builder, name: str) -> Box:
    return broadcast_box(build.tensor(name).shape, build.space)


def operand(build: Builder, name: str) -> tuple[str, str]:
    """Where a value is: in the region's own memory, or read from outside."""
    if name in build.held:
        return build.held[name], ""
    if any(name in node.outputs for node in build.group.body):
        return OUT, name
    known = next((a.role for a in build.inputs if a.tensor == name), "")
    if known:
        return known, name
    kind = "params" if name in build.graph.constants else "ifmap"
    return build.read(f"in{len(build.inputs)}", name, box_of(build, name), kind)


def result(build: Builder, node: Node, in_place: bool) -> tuple[str, str]:
    """Where the result goes: a memory of the region that is free, or the group's result."""
    (name,) = node.outputs
    if name in build.group.outputs:
        return OUT, name
    body = build.group.body
    later = body[body.index(node) + in_place :]
    alive = {build.held[i] for n in later for i in n.inputs if i in build.held}
    box, dtype = box_of(build, name), scratchpad_dtype(build.tensor(name).dtype, build.target)
    free = [a for a in build.temps if a.role not in alive and (a.box, a.dtype) == (box, dtype)]
    role = free[0].role if free else f"t{len(build.temps)}"
    if not free:
        build.temps.append(Access(role, "", box, "ofmap", dtype, build.reduction))
    build.held[name] = role
    return role, ""
