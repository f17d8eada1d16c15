"""Which nests write where a tensor is."""

from collections.abc import Mapping, Sequence
from typing import Self

from msgspec import Struct

from ..ir.graph import Graph
from .lifetimes import storage

PARTS = ("group", "host")
"""Nodes that a nest is made of."""


class Makers(Struct, frozen=True):
    """Per storage, the numbers of the nests that write to it, in order."""

    graph: Graph
    nests: Mapping[str, Sequence[int]]

    @classmethod
    def of(cls, graph: Graph) -> Self:
        nests: dict[str, list[int]] = {}
        for number, node in enumerate(n for n in graph.nodes if n.op in PARTS):
            for name in node.outputs:
                nests.setdefault(storage(graph, name), []).append(number)
        return cls(graph, nests)

    def last(self, tensor: str, nest: int) -> int:
        """The last one before `nest` that writes to the storage of `tensor`; -1 if none does."""
        found = self.nests.get(storage(self.graph, tensor), ())
        return max((number for number in found if number < nest), default=-1)
