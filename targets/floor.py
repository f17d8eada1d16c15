"""What no schedule can beat: the cycles that a layer takes on its array, and on its DRAM links.

The bound of a layer is the larger of the two; that of a network the larger of the two sums, since
one layer may move bytes while another one computes.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from .cost import ceil_div
from .schema import Channel, Target


@dataclass(frozen=True, slots=True)
class Floor:
    """What a layer asks at least.

    `array`, `vector`: cycles of these engines, were there nothing else. `moved`: bytes over each
    DRAM link, by its number, if feature maps stay on chip; `spilled`: what comes on top when layers
    run one after the other, of maps that no scratchpad holds. An empty tuple is all zeros.
    """

    array: int = 0
    vector: int = 0
    moved: tuple[int, ...] = ()
    spilled: tuple[int, ...] = ()


def link(target: Target, channel: Channel, stores: bool) -> int:
    """The number of the link that a transfer holds: a channel, or one direction of a full-duplex
    one. There are two numbers for each channel."""
    return 2 * target.dram.channels.index(channel) + (stores and channel.duplex == "full")


def links(target: Target) -> int:
    return 2 * len(target.dram.channels)


def link_cycles(target: Target, moved: Sequence[int]) -> int:
    """Cycles of the busiest link, for bytes by the link's number."""
    rates = [c.bytes_per_cycle for c in target.dram.channels]
    return max((int(ceil_div(b, rates[i // 2])) for i, b in enumerate(moved)), default=0)


def bound(target: Target, floors: Iterable[Floor], spilling: bool = False) -> int:
    """Cycles that the layers take at least, all of them together."""
    whole = total(floors)
    moved = added(whole.moved, whole.spilled) if spilling else whole.moved
    return max(whole.array, link_cycles(target, moved))


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
