"""What the instructions of a class touch, by form: rows of one form touch blocks of one shape, and
differ in where these begin."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple, Self

import numpy as np
import numpy.typing as npt
from msgspec import Struct
from msgspec.structs import replace

from .core import MEMORY_SHIFT, Array, Region
from .parts import Part

Int64 = npt.NDArray[np.int64]

MASKS = {"dram": np.uint32(0xFFFF_FFFF), "address": np.uint32((1 << MEMORY_SHIFT) - 1)}
"""By form of an address field, the bits that are a byte of a memory."""


class Moves(NamedTuple):
    """An address field, by row, and by form whether a region begins where it says."""

    values: Array
    mask: np.uint32
    follows: Int64


class Places(Struct, frozen=True):
    """A region of all instructions of a class, where it is not empty.

    `indices` are the instructions, `form` the form of each. By form are its `memory`, its `bytes`
    from the first to the last, and the `first` where all addresses are 0; so is `region`, which
    lies at some place.
    """

    is_write: bool
    indices: Int64
    form: Int64
    first: Int64
    moves: tuple[Moves, ...]
    memory: Int64
    bytes: Int64
    region: Region

    @property
    def start(self) -> Int64:
        """The first byte of each, int64[rows]."""
        start = self.first[self.form]
        for values, mask, follows in self.moves:
            start += values & mask if follows.all() else (values & mask) * follows[self.form]
        return start

    def within(self, first: int, stop: int) -> Self:
        """Of the instructions first..stop - 1."""
        rows = slice(*np.searchsorted(self.indices, (first, stop)))
        moves = tuple(move._replace(values=move.values[rows]) for move in self.moves)
        return replace(self, indices=self.indices[rows], form=self.form[rows], moves=moves)


def places(part: Part) -> Iterator[Places]:
    """Reads before writes. A region begins where an address field says, or a way behind that, which
    is the form's: which field it is shows when each is put a power of two further."""
    forms, fields = part.forms, [f for f in part.moving() if f.kind.form in MASKS]
    kinds = part.take(forms.first).records
    still, moved = kinds.copy(), kinds.copy()
    for power, field in enumerate(fields):
        still[field.name] &= ~MASKS[field.kind.form]
        moved[field.name] = still[field.name] | 1 << power
    for (is_write, region), (_, further) in zip(
        regions(part, still), regions(part, moved), strict=True
    ):
        memory, first, stop = columns(region, len(kinds))
        way = columns(further, len(kinds))[1] - first
        held = stop > first
        rows = slice(None) if held.all() else np.flatnonzero(held[forms.form])
        moves = tuple(
            Moves(part.brief[field.name][rows], MASKS[field.kind.form], way >> power & 1)
            for power, field in enumerate(fields)
            if np.any(way >> power & 1)
        )
        indices, form = part.indices[rows], forms.form[rows]
        yield Places(is_write, indices, form, first, moves, memory, stop - first, region)


def regions(part: Part, records: Array) -> list[tuple[bool, Region]]:
    """Of some records of the class of a part: whether it is written, and the region."""
    every = part.cls.from_records(records)
    reads, writes = ((False, r) for r in every.reads()), ((True, r) for r in every.writes())
    return [*reads, *writes]


def columns(region: Region, count: int) -> list[Int64]:
    return [np.broadcast_to(column, count).astype(np.int64) for column in region]


def ordered(count: int, tables: Sequence[Int64]) -> Iterator[Int64]:
    """The places of the rows of each table when the rows of all are ordered by instruction, of
    which there are `count`, and then by table; a table has a row at most for each."""
    rows = np.zeros(count, np.int64)
    for indices in tables:
        rows[indices] += 1
    place = np.cumsum(rows) - rows
    for indices in tables:
        yield place[indices]
        place[indices] += 1
