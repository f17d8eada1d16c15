"""Reads that need no look at bytes: it is plain who wrote what they take.

A piece of memory is what accesses of one buffer's life overlap in. There are two plain cases, and
most of a tiled program is one of them. Of the accesses to a piece, in program order, the last
write before a read made all of it: it is of the same block, or one run of bytes around it. Or the
writes to a piece of a tensor come before its reads, and are tiles that fill it without a gap.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from .accesses import Accesses, Bools, Counts, Ints
from .hazards import spread

UNIT_SHIFT = 44
"""No memory has more bytes than that many bits can count."""

LONG = 10_000
"""Rows from which machine code looks for the last writes, if there is any."""

CHUNK = 1 << 19
"""Rows that are looked at together, about: their columns take the place of those before them."""

MOST = 1 << 26
"""Runs, and bytes, that are looked at at once."""

NOWHERE = np.iinfo(np.int64).max


class Kinds(NamedTuple):
    """Of each unit: whether it is a tensor, whose parts need not all be read, and whether it is
    there from the start."""

    tensor: Bools
    given: Bools


class Handovers(NamedTuple):
    """`made` are instructions whose results are read; `rest` the rows of the pieces of memory in
    which there is a read that is not plain."""

    made: Ints
    rest: Ints


def handovers(found: Accesses, home: Counts, kinds: Kinds) -> Handovers:
    """`home` is the unit that each row lies in; rows without one are left out."""
    fast = by_machine(found, home) if len(found) >= LONG else None
    made, other = last_writes(found, home) if fast is None else fast
    some = [of_tiles(found, rows, home, kinds) for rows in by_units(home, other)]
    tiles, rest = together(some)
    return Handovers(np.append(made, tiles), np.sort(rest))


def together(some: Sequence[tuple[Ints, Ints]]) -> tuple[Ints, Ints]:
    """Pairs of columns, one after the other."""
    none = np.zeros(0, np.int64), np.zeros(0, np.int64)
    first, second = (np.concatenate(columns) for columns in zip(none, *some, strict=True))
    return first, second


def by_machine(found: Accesses, home: Counts) -> tuple[Ints, Ints] | None:
    from .native import handovers  # short programs do not wait for what it imports

    return handovers.last_writes(found, home)


def last_writes(found: Accesses, home: Counts) -> tuple[Ints, Ints]:
    """Instructions that made all that a later read takes; the rows, in order, of the pieces in
    which there are other reads."""
    some = [of_units(found, rows, home) for rows in by_units(home, np.flatnonzero(home >= 0))]
    made, other = together(some)
    return made, np.sort(other)


def by_units(home: Counts, rows: Ints) -> list[Ints]:
    """Rows that lie in units, by unit and in order, some units at a time."""
    unit = home[rows]
    few = int(unit.max(initial=0)) < np.iinfo(np.int16).max
    order = np.argsort(unit.astype(np.int16) if few else unit, kind="stable")
    ends = np.cumsum(np.bincount(unit))
    cuts = np.flatnonzero(np.diff(ends // CHUNK)) + 1
    return np.split(rows[order], ends[cuts - 1])


def of_units(found: Accesses, rows: Ints, home: Counts) -> tuple[Ints, Ints]:
    """As `last_writes`, of all rows of some units; the rows in any order."""
    order, piece = by_piece(found.start[rows], found.stop[rows], home[rows])
    rows = rows[order]
    is_write = found.is_write[rows]
    last = np.maximum.accumulate(np.where(is_write, np.arange(len(rows)), -1))
    at = np.flatnonzero(~is_write)
    source = np.maximum(last[at], 0)
    whole = (last[at] >= 0) & (piece[source] == piece[at])
    whole &= makes_all(found, rows[source], rows[at])
    other = among(piece, piece[at[~whole]])[piece]
    return found.instruction[rows[source[whole]]].astype(np.int64), rows[other]


def of_tiles(found: Accesses, rows: Ints, home: Counts, kinds: Kinds) -> tuple[Ints, Ints]:
    """Of all rows of some pieces: instructions that wrote tiles of those that are plain, and the
    rows of those that are not."""
    order, piece = by_piece(found.start[rows], found.stop[rows], home[rows])
    rows = rows[order]
    plain = filled(found, rows, piece, home, kinds)[piece]
    tiles = rows[plain & found.is_write[rows]]
    return found.instruction[tiles].astype(np.int64), rows[~plain]


def among(every: Ints, some: Ints) -> Bools:
    """By number, whether it is one of `some`; `every` has all numbers."""
    is_one = np.zeros(1 + int(every.max(initial=0)), np.bool_)
    is_one[some] = True
    return is_one


def by_piece(start: Ints, stop: Ints, unit: Counts) -> tuple[Ints, Ints]:
    """The accesses of each piece of a unit, in order, and the numbers of the pieces: no access goes
    across the border of one."""
    place = (unit.astype(np.int64) << UNIT_SHIFT) + start
    order = np.argsort(place)
    place, reach = place[order], (stop - start)[order]
    reach += place
    np.maximum.accumulate(reach, out=reach)
    begins = np.ones(len(order), np.bool_)
    begins[1:] = place[1:] >= reach[:-1]
    shift = len(order).bit_length()
    both = np.cumsum(begins, dtype=np.int64)
    both <<= shift
    both += order
    both.sort()  # sooner than by the piece alone
    return both & ((1 << shift) - 1), both >> shift


def makes_all(found: Accesses, write: Ints, read: Ints) -> Bools:
    """Whether each write is of all bytes that a read, of the same unit, takes."""
    equal = (found.start[write] == found.start[read]) & (found.frame[write] == found.frame[read])
    around = found.dense()[write] & (found.start[write] <= found.start[read])
    return np.asarray(equal | (around & (found.stop[write] >= found.stop[read])))


def filled(found: Accesses, rows: Ints, piece: Ints, home: Counts, kinds: Kinds) -> Bools:
    """By piece, whether it is of a tensor that is written before it is read, tile by tile and
    whole; or there from the start, and not written."""
    is_write, unit = found.is_write[rows], home[rows]
    late = piece[1:][(np.diff(piece) == 0) & is_write[1:] & ~is_write[:-1]]
    tiled = among(piece, piece[kinds.tensor[unit]]) & ~among(piece, late)
    tiles = is_write & tiled[piece]
    first, last = without_gaps(found, rows[tiles], piece[tiles], len(tiled))
    within = (found.start[rows] >= first[piece]) & (found.stop[rows] <= last[piece])
    given = among(piece, piece[kinds.given[unit]]) & ~among(piece, piece[is_write])
    return np.asarray(given | (tiled & ~among(piece, piece[~within])))


def without_gaps(found: Accesses, rows: Ints, piece: Ints, pieces: int) -> tuple[Ints, Ints]:
    """By piece, the bytes [first, last) that its rows fill, each byte once; [0, 0) if they do not.

    Runs follow each other to the byte if each starts where another one stops, but for the first
    and the last, and no two at the same.
    """
    first, last = np.full(pieces, NOWHERE, np.int64), np.zeros(pieces, np.int64)
    np.minimum.at(first, piece, found.start[rows])
    np.maximum.at(last, piece, found.stop[rows])
    places = np.where(last > 0, last - first + 1, 0)
    offset = np.cumsum(places) - places
    frames, frame = found.frames, found.frame[rows]
    count = frames.sizes.prod(axis=1)[frame]
    if count.sum() > MOST or places.sum() > MOST:
        return np.zeros(pieces, np.int64), np.zeros(pieces, np.int64)
    start = run_starts(found, rows, count) + np.repeat((offset - first)[piece], count)
    starts, stops = np.zeros((2, int(places.sum()) + 1), np.bool_)
    starts[start] = stops[start + np.repeat(frames.run[frame], count)] = True
    held = np.flatnonzero(places)
    starts[(offset + places - 1)[held]] = stops[offset[held]] = True
    runs = np.bincount(piece, count, pieces).astype(np.int64)
    fits = np.zeros(pieces, np.bool_)
    fits[held] = marks(starts, offset[held]) == runs[held] + 1
    fits[held] &= marks(starts != stops, offset[held]) == 0
    return np.where(fits, first, 0), np.where(fits, last, 0)


def marks(marked: Bools, first: Ints) -> Ints:
    """How many are marked from each of `first`, ascending, to the next one."""
    edges = np.searchsorted(np.flatnonzero(marked), np.append(first, len(marked)))
    return np.diff(edges)


def run_starts(found: Accesses, rows: Ints, count: Ints) -> Ints:
    """The first bytes of all `count` runs of each row."""
    start, number = np.repeat(found.start[rows], count), spread(np.zeros_like(count), count)
    sizes, strides = (c[found.frame[rows]] for c in (found.frames.sizes, found.frames.strides))
    for size, stride in zip(sizes.T[::-1], strides.T[::-1], strict=True):
        if (size > 1).any():
            number, index = np.divmod(number, np.repeat(size, count))
            start += index * np.repeat(stride, count)
    return start
