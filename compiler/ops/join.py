"""Tensors put together: each part is written to its place in the whole, so nothing is moved."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ..ir.graph import Array, Node
from .op import Op, Tensors


class Place(NamedTuple):
    """Where a part lies in the whole, per axis: from `starts`, every `steps` elements."""

    starts: tuple[int, ...]
    steps: tuple[int, ...]


class Join(Op):
    """A view whose inputs are written into it; all have its quantisation."""

    is_view = True

    @classmethod
    def places(cls, node: Node, tensors: Tensors) -> list[Place]:
        """The place of each input."""
        raise NotImplementedError(cls.name)


class Interleave(Join, name="interleave"):
    """Parts that lie between each other, and are all of the whole.

    attrs: starts and steps, a tuple per part. Sub-pixel convolution: W. Shi et al., CVPR 2016.
    """

    @classmethod
    def places(cls, node: Node, tensors: Tensors) -> list[Place]:
        return [Place(*p) for p in zip(node.attrs["starts"], node.attrs["steps"], strict=True)]

    @classmethod
    def shape(cls, node: Node, tensors: Tensors) -> tuple[int, ...]:
        shapes = (tensors[i].shape for i in node.inputs)
        ends = map(end, cls.places(node, tensors), shapes)
        return tuple(max(axis) for axis in zip(*ends, strict=True))

    @classmethod
    def run(cls, node: Node, tensors: Tensors, inputs: Sequence[Array]) -> Array:
        whole = np.empty(cls.shape(node, tensors), inputs[0].dtype)
        for place, part in zip(cls.places(node, tensors), inputs, strict=True):
            spans = zip(place.starts, end(place, part.shape), place.steps, strict=True)
            whole[tuple(slice(*span) for span in spans)] = part
        return whole


def end(place: Place, shape: Sequence[int]) -> tuple[int, ...]:
    """One behind the last index of a part, per axis."""
    spans = zip(*place, shape, strict=True)
    return tuple(start + (size - 1) * step + 1 for start, step, size in spans)


def interleaved(
    parts: Sequence[str], places: Sequence[Place], output: str, loc: tuple[str, ...]
) -> Node:
    """The node that makes `output` of `parts`."""
    starts, steps = zip(*places, strict=True)
    attrs = {"starts": starts, "steps": steps}
    return Node("interleave", tuple(parts), (output,), attrs, loc=loc)
