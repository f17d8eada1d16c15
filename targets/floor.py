"""What no schedule can beat: the cycles that a layer takes on its array, and on its DRAM links.

The bound of a layer is the larger of the two; that of a network the larger of the two sums, since
one layer may move bytes while another one computes.
"""

from collections.abc import Iterable, Sequence

import numpy as np

from dnncc.isa.image import Floor

from .cost import ceil_div
from .schema import Channel, Target

ARRAY = -1
"""What limits a layer that no link does."""


def link(target: Target, channel: Channel, stores: bool) -> int:
    """The number of the link that a transfer holds: a channel, or one direction of a full-duplex
    one. There are two numbers for each channel."""
    return 2 * target.dram.channels.index(channel) + (stores and channel.duplex == "full")


def links(target: Target) -> int:
    return 2 * len(target.dram.channels)


def link_cycles(target: Target, moved: Sequence[int]) -> list[int]:
    """Cycles of each link, for bytes by the link's number."""
    rates = [c.bytes_per_cycle for c in target.dram.channels]
    return [int(ceil_div(b, rates[number // 2])) for number, b in enumerate(moved)]


def bound(target: Target, floors: Iterable[Floor], spilling: bool = False) -> int:
    """Cycles that the layers take at least, all of them together."""
    whole = total(floors)
    moved = added(whole.moved, whole.spilled) if spilling else whole.moved
    return max([whole.array, *link_cycles(target, moved)])


def limit(target: Target, floors: Iterable[Floor]) -> int:
    """Whose cycles the bound is: the number of a link, or ARRAY."""
    whole = total(floors)
    cycles = link_cycles(target, whole.moved)
    busiest = max(range(len(cycles)), key=cycles.__getitem__, default=ARRAY)
    return busiest if cycles and cycles[busiest] > whole.array else ARRAY


def total(floors: Iterable[Floor]) -> Floor:
    """The sum of all, column by column."""
    rows = list(floors)
    return Floor(
        sum(f.array for f in rows),
        sum(f.vector for f in rows),
        added(*(f.moved for f in rows)),
        added(*(f.spilled for f in rows)),
    )


def added(*rows: Sequence[int]) -> tuple[int, ...]:
    """The sum of rows of bytes per link, of which some may be empty."""
    width = max(map(len, rows), default=0)
    table = np.zeros((len(rows), width), np.int64)
    for sums, row in zip(table, rows, strict=True):
        sums[: len(row)] = row
    return tuple(table.sum(axis=0).tolist())
