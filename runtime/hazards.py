"""Races: two accesses to the same bytes, one of them a write, that nothing puts in order."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from .accesses import Accesses, Bools, Ints
from .clocks import ENGINES, Clocks

CHUNK = 1 << 17
"""Pairs of instructions that are looked at together: arrays of theirs stay near the cache."""
MOST_PAIRS = 1 << 27
"""Pairs of instructions that are compared; a legal program has a few per instruction."""


LONG = 5_000
"""Instructions from which machine code compares them, if there is any."""


class Race(NamedTuple):
    """Rows of Accesses, in program order, and the first byte that both touch."""

    earlier: int
    later: int
    byte: int


def races(found: Accesses, clocks: Clocks) -> Iterator[Race]:
    """Per later instruction and engine of the earlier one the last race, for its wait mends all."""
    best: dict[tuple[int, int], Race] = {}
    for race in all_races(found, clocks):
        engine = int(clocks.engine[found.instruction[race.earlier]])
        key = int(found.instruction[race.later]), engine
        known = best.get(key)
        if known is None or found.instruction[known.earlier] < found.instruction[race.earlier]:
            best[key] = race
    yield from (best[key] for key in sorted(best))


def all_races(found: Accesses, clocks: Clocks) -> Iterator[Race]:
    some = by_machine(found, clocks) if len(clocks.engine) >= LONG else None
    for rows in candidates(found, clocks) if some is None else [some]:
        for a, b in zip(*(column.tolist() for column in rows), strict=True):
            byte = common_byte(found, a, b)
            if byte >= 0:
                yield Race(a, b, byte)


def by_machine(found: Accesses, clocks: Clocks) -> tuple[Ints, Ints] | None:
    from .native import hazards  # short programs do not wait for what it imports

    return hazards.candidates(found, clocks)


def candidates(found: Accesses, clocks: Clocks) -> Iterator[tuple[Ints, Ints]]:
    """Pairs of rows, in chunks, whose ranges meet and that may be at the same time."""
    bounds = found.bounds(len(clocks.engine))
    any_, written = (
        memories(found, rows, len(clocks.engine)) for rows in (slice(None), found.is_write)
    )
    for earlier, later in unordered(clocks):
        able = written[earlier] & any_[later] | any_[earlier] & written[later] > 0
        yield conflicts(found, *row_pairs(bounds, earlier[able], later[able]))


def memories(found: Accesses, rows: Any, count: int) -> Ints:
    """The memories that each instruction touches in some of its rows, as bits: int64[count]."""
    touched = np.zeros(count, np.int64)
    np.bitwise_or.at(
        touched, found.instruction[rows], np.int64(1) << found.memory[rows].astype(np.int64)
    )
    return touched


def windows(clocks: Clocks) -> Ints:
    """How many instructions of each engine, issued before, may not have ended when one begins."""
    open_ = np.stack([clocks.issued(engine) for engine in range(ENGINES)], axis=1, dtype=np.int64)
    open_ -= clocks.known  # of its own engine it knows all
    return open_


def too_open(clocks: Clocks) -> bool:
    """Whether there are more pairs than are compared."""
    issued = sum(int(clocks.issued(e).sum(dtype=np.int64)) for e in range(ENGINES))
    return issued - int(clocks.known.sum(dtype=np.int64)) > MOST_PAIRS


def unordered(clocks: Clocks) -> Iterator[tuple[Ints, Ints]]:
    """Pairs of instructions of different engines that may run at the same time, in chunks."""
    open_ = windows(clocks)
    open_[np.cumsum(open_.sum(axis=1)) > MOST_PAIRS] = 0
    for engine in range(ENGINES):
        queue = clocks.queue(engine)
        later = np.flatnonzero(open_[:, engine])
        for part in chunks(later, open_[later, engine]):
            numbers = spread(clocks.known[part, engine], open_[part, engine])
            yield queue[numbers], np.repeat(part, open_[part, engine])


def chunks(items: Ints, sizes: Ints) -> Iterator[Ints]:
    """The items in parts of about CHUNK in size."""
    parts = np.cumsum(sizes) // CHUNK
    yield from np.split(items, np.flatnonzero(np.diff(parts)) + 1) if len(items) else ()


def spread(first: Ints, count: Ints) -> Ints:
    """first, first + 1, ... of each pair, `count` of them."""
    ends = np.cumsum(count)
    return np.asarray(np.arange(count.sum()) + np.repeat(first - ends + count, count))


def row_pairs(bounds: Ints, earlier: Ints, later: Ints) -> tuple[Ints, Ints]:
    """Every row of the earlier instruction of each pair with every row of the later one; those of
    instruction i are `bounds[i]` to `bounds[i + 1]`."""
    first, count = bounds[:-1], np.diff(bounds)
    rows, later = spread(first[earlier], count[earlier]), np.repeat(later, count[earlier])
    return np.repeat(rows, count[later]), spread(first[later], count[later])


def conflicts(found: Accesses, a: Ints, b: Ints) -> tuple[Ints, Ints]:
    """The pairs of rows whose ranges meet and of which one writes."""
    chosen = np.flatnonzero(found.is_write[a] | found.is_write[b])
    chosen = chosen[meet(found, a[chosen], b[chosen])]
    return a[chosen], b[chosen]


def meet(found: Accesses, a: Ints, b: Ints) -> Bools:
    same = found.memory[a] == found.memory[b]
    return np.asarray(same & (found.start[a] < found.stop[b]) & (found.start[b] < found.stop[a]))


def common_byte(found: Accesses, a: int, b: int) -> int:
    """The first byte that both rows touch, whose ranges meet; -1 if there is none."""
    start = int(max(found.start[a], found.start[b]))
    stop = int(min(found.stop[a], found.stop[b]))
    runs = found.frames.run[found.frame[[a, b]]]
    if (runs == found.stop[[a, b]] - found.start[[a, b]]).all():
        return start
    both = touched(found, a, start, stop) & touched(found, b, start, stop)
    at = int(np.argmax(both))
    return start + at if both[at] else -1


def touched(found: Accesses, row: int, start: int, stop: int) -> Bools:
    """Which of the bytes [start, stop) the row touches."""
    low, high = int(found.start[row]), int(found.stop[row])
    mask = np.zeros(high - low, np.bool_)
    block(mask, found, row)[...] = True
    return mask[start - low : stop - low]


def block(mask: Bools, found: Accesses, row: int) -> Bools:
    """In place, what a mask that begins at the row's start has for the row's own bytes."""
    run, sizes, strides = (column[found.frame[row]].tolist() for column in found.frames)
    return np.ndarray((*sizes, run), np.bool_, mask, 0, (*strides, 1))
