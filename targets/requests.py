"""How far ahead of its data a DMA engine may ask DRAM: which bursts have to have come first."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from dnncc.isa import core

from . import cost
from .schema import Target

Ints = npt.NDArray[np.int64]


def windows(
    bus: Ints, cycles: Ints, channel: Ints, queues: Sequence[Ints], target: Target
) -> tuple[Ints, Ints]:
    """Per instruction, int64[count], `window` of its engine's transfers; -1 and 0 of others, which
    have no `channel`. `bus` are the bytes of each on its link."""
    behind, ahead = np.full_like(cycles, -1), np.zeros_like(cycles)
    for engine in target.engines:
        queue = queues[core.ENGINES.index(engine.name)]
        moves = queue[channel[queue] >= 0]
        if not len(moves):
            continue
        link = target.channel_of(engine.name)
        most = cost.most_requests(link, engine.requests)
        at, ahead[moves] = window(bus[moves] // link.burst_bytes, cycles[moves], most)
        behind[moves] = np.where(at >= 0, moves[at], -1)
    return behind, ahead


def window(bursts: Ints, cycles: Ints, most: int) -> tuple[Ints, Ints]:
    """Per transfer of an engine, in order, the transfer whose data make room for its first request
    (-1: there is room), and how many cycles before that one's end the last burst needed has come.

    Bursts are numbered through all transfers; with `most` under way, burst b is asked for when
    burst b - most has come. Bursts of a transfer come evenly, in its `cycles`.
    """
    ends = np.cumsum(bursts)
    oldest = ends - bursts - most
    at = np.searchsorted(ends, oldest, side="right")
    later = ends[at] - 1 - oldest
    return np.where(oldest >= 0, at, -1), later * cycles[at] // bursts[at]
