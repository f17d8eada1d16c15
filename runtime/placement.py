"""Whether buffers are apart, and instructions keep to those that the binary says they have."""

from collections.abc import Iterator, Sequence

import numpy as np

from dnncc.isa import core
from dnncc.isa import image as images

from .accesses import Accesses, Counts
from .findings import Finding, Listing, brief

NOWHERE, CONSTANT = -1, -2


def overlaps(units: Sequence[images.Unit], listing: Listing) -> Iterator[Finding]:
    """Buffers that share bytes while both are in use."""
    order = sorted(units, key=lambda u: (u.memory, u.start))
    columns = ([getattr(u, n) for u in order] for n in ("memory", "start", "stop", "first", "last"))
    memory, start, stop, first, last = (np.array(c, np.int64) for c in columns)
    key = memory << core.MEMORY_SHIFT + core.WORD_BYTES
    ends = np.searchsorted(key + start, key + stop)
    for a, unit in enumerate(order):
        rivals = slice(a + 1, int(ends[a]))
        clash = (first[rivals] <= unit.last) & (last[rivals] >= unit.first)
        clash &= stop[rivals] > start[rivals]
        for other in (order[a + 1 + int(b)] for b in np.flatnonzero(clash)):
            both = max(unit.first, other.first)
            yield Finding("overlap", shared(unit, other) + listing.origin(both), (both,))


def shared(a: images.Unit, b: images.Unit) -> str:
    start, stop = max(a.start, b.start), min(a.stop, b.stop)
    span = f"instructions {max(a.first, b.first)}..{min(a.last, b.last)}"
    names = f"{brief(a.name)!r} and {brief(b.name)!r}"
    return f"{names} both have {a.memory}:{start:#x}..{stop:#x} in {span}"


def homes(found: Accesses, image: images.Image) -> Counts:
    """The unit that each row lies in while that lives; CONSTANT, or NOWHERE."""
    constants = (found.memory == core.DRAM) & (found.stop <= len(image.rodata))
    home = np.where(constants, np.int32(CONSTANT), np.int32(NOWHERE))
    units = image.debug.units if image.debug else ()
    first = found.first_rows([unit.first for unit in units])
    last = found.first_rows([unit.last + 1 for unit in units])
    for number, unit in enumerate(units):
        rows = slice(int(first[number]), int(last[number]))
        here = (found.memory[rows] == unit.memory) & (found.start[rows] >= unit.start)
        home[rows][here & (found.stop[rows] <= unit.stop)] = number
    return home


def strays(found: Accesses, home: Counts, listing: Listing) -> Iterator[Finding]:
    """Accesses that are not within one buffer of those that live then, nor constants."""
    for row in np.flatnonzero(home == NOWHERE).tolist():
        index = int(found.instruction[row])
        text = f"{listing.instruction(index)} {listing.row(found, row)}, which is in no one buffer"
        live = [u for u in listing.units(index) if u.memory == found.memory[row]]
        near = min(live, key=lambda u: abs(u.start - int(found.start[row])), default=None)
        hint = (
            f"; the nearest is {brief(near.name)!r}, {near.start:#x}..{near.stop:#x}"
            if near
            else ""
        )
        yield Finding("stray", text + hint, (index,))
