"""Extents cut into blocks, of which the last may be smaller: what a loop nest's edges look like."""

from collections.abc import Iterator, Sequence
from functools import reduce
from itertools import product
from typing import NamedTuple

import numpy as np
from msgspec import Struct

from ..cost import floor_div
from .work import Ints


class Blocks(Struct, frozen=True):
    """`full` blocks of `size`, and one of `rest` unless that is 0; int64 arrays."""

    size: Ints
    full: Ints
    rest: Ints

    @classmethod
    def of(cls, extent: Ints, size: Ints) -> "Blocks":
        full = floor_div(extent, size)
        return cls(size, full, extent - full * size)

    @property
    def number(self) -> Ints:
        return self.full + (self.rest > 0)

    @property
    def first(self) -> Ints:
        return np.where(self.full > 0, self.size, self.rest)

    @property
    def last(self) -> Ints:
        return np.where(self.rest > 0, self.rest, self.size)

    def kinds(self) -> list[tuple[Ints, Ints]]:
        """(size, count) of the full and of the last blocks, without a kind that occurs nowhere."""
        both = [(self.size, self.full), (self.rest, (self.rest > 0).astype(np.int64))]
        return [(size, count) for size, count in both if count.any()]


class Shape(NamedTuple):
    """Iterations that are alike: `times` of them with these block sizes, in elements `where`."""

    where: Ints
    times: Ints
    sizes: list[Ints]


def shapes(blocks: Sequence[Blocks]) -> Iterator[Shape]:
    """The different iterations of the nest of loops over `blocks`; all arrays are 1-D and alike.

    An element of the arrays is one nest; each nest is told in at most 2 ** len(blocks) shapes.
    """
    for kinds in product(*(b.kinds() for b in blocks)):
        times = reduce(np.multiply, [count for _, count in kinds])
        where = np.flatnonzero(times)
        if where.size:
            yield Shape(where, times[where], [size[where] for size, _ in kinds])
