"""Elements chosen by constant indices, as ONNX Gather: slices of the input, put together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from math import prod

from ..ir.graph import Node
from .join import Place, interleaved
from .match import Match, Refused
from .op import Op
from .runs import Row, Run, runs

AT_ONCE = 16
"""Parts of a tensor that are made in one go."""


class Take(Op, onnx=("Gather",)):
    """It is recognised as `slice`s and their `interleave`, so no node of the Graph is one."""

    @classmethod
    def recognize(cls, match: Match) -> Node:
        x, indices = match.node.inputs[0], match.edit.value(match.node.inputs[1])
        if indices is None:
            raise Refused("its indices are not constant")
        shape = match.shape(x)
        axis = match.attr("axis", 0) % len(shape)
        chosen = [int(i) for i in indices.reshape(-1)]
        if not all(-shape[axis] <= i < shape[axis] for i in chosen):
            raise Refused("an index outside of its input")
        chosen = [i % shape[axis] for i in chosen]
        size = (*shape[:axis], len(chosen), *shape[axis + 1 :])
        if size == match.result.shape:
            return taken(match, x, {axis: chosen})
        inner = match.inside(size)
        return inner.view_as(match, taken(inner, x, {axis: chosen}))


def taken(match: Match, x: str, chosen: Mapping[int, Sequence[int]]) -> Node:
    """The node whose result is, along each axis of `chosen`, these indices of x. Raises Refused.

    Many parts are made along one axis after the other.
    """
    shape = match.shape(x)
    along = [
        runs([Row(i) for i in chosen[axis]]) if axis in chosen else [everything(size)]
        for axis, size in enumerate(shape)
    ]
    if prod(map(len, along)) > AT_ONCE and len(chosen) > 1:
        (first, indices), *rest = chosen.items()
        inner = match.inside((*shape[:first], len(indices), *shape[first + 1 :]))
        match.edit.emit(taken(inner, x, {first: indices}))
        return taken(match, inner.output, dict(rest))
    parts = list(product(*along))
    if len(parts) == 1:
        return cut(x, match.output, parts[0], match.loc)
    names = []
    for part in parts:
        name = match.inside([r.count for r in part]).output
        match.edit.emit(cut(x, name, part, match.loc))
        names.append(name)
    return interleaved(names, [place_of(part) for part in parts], match.output, match.loc)


def everything(size: int) -> Run:
    return Run(0, 1, size, Row(0), 1)


def place_of(part: Sequence[Run]) -> Place:
    return Place(tuple(r.first for r in part), tuple(r.step for r in part))


def cut(x: str, output: str, part: Sequence[Run], loc: tuple[str, ...]) -> Node:
    """The elements that a part is made of."""
    attrs = {
        "starts": tuple(r.begin for r in part),
        "stops": tuple(r.end for r in part),
        "steps": tuple(r.stride for r in part),
    }
    return Node("slice", (x,), (output,), attrs, loc=loc)
