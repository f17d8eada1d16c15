"""The smallest part of a model that still fails: delta debugging over its nodes."""

import time
from collections.abc import Callable, Sequence
from math import inf

from msgspec import Struct, field
from onnx import ModelProto

from ..ir.graph import Array
from .cut import Values, around, cut, feeds_of

Fails = Callable[[ModelProto, dict[str, Array]], bool]


class Search(Struct):
    """Tries parts of `model` until `deadline`, a reading of time.monotonic."""

    model: ModelProto
    values: Values
    fails: Fails
    deadline: float = inf
    tried: dict[tuple[int, ...], bool] = field(default_factory=dict)

    def is_failing(self, keep: Sequence[int]) -> bool:
        """Whether those nodes alone fail; what cannot stand alone does not."""
        key = tuple(sorted(keep))
        if key not in self.tried:
            if time.monotonic() > self.deadline:
                return False
            part = cut(self.model, key, self.values)
            self.tried[key] = part is not None and self.fails(part, feeds_of(part, self.values))
        return self.tried[key]

    def smallest(self, names: Sequence[str] = ()) -> list[int]:
        """Nodes of which none can be left out; `names` are of nodes near the fault, if known."""
        return self.minimised(self.near(names))

    def near(self, names: Sequence[str]) -> list[int]:
        """A part around the fault, twice as large as the one that did not fail; at worst, all."""
        count, size = len(self.model.graph.node), 2
        while names and size < count:
            part = around(self.model, names, size)
            if part and self.is_failing(part):
                return part
            size *= 2
        return list(range(count))

    def minimised(self, keep: list[int]) -> list[int]:
        """Zeller's ddmin: leave out chunks, ever smaller ones, as long as it goes on failing."""
        chunk = max(1, len(keep) // 2)
        while keep:
            smaller = self.without_a_chunk(keep, chunk)
            if smaller is not None:
                keep = smaller
                chunk = min(chunk, max(1, len(keep) // 2))
            elif chunk == 1:
                break
            else:
                chunk = max(1, chunk // 2)
        return keep

    def without_a_chunk(self, keep: list[int], chunk: int) -> list[int] | None:
        for start in range(0, len(keep), chunk):
            rest = keep[:start] + keep[start + chunk :]
            if rest and self.is_failing(rest):
                return rest
        return None
