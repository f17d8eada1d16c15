"""How far ahead of its data a DMA engine may ask DRAM: which bursts have to have come first."""

import numpy as np
import numpy.typing as npt

from dnncc.isa import core
from dnncc.targets import Target, cost

from .pricing import Prices

Ints = npt.NDArray[np.int64]


def windows(priced: Prices, queues: list[Ints], target: Target) -> tuple[Ints, Ints]:
    """Per instruction the transfer whose data make room for its first request (-1: there is room),
    and how many cycles before that transfer's end the last burst needed has come; int64[count].

    Bursts of an engine are numbered through all of its instructions; with `most` under way, burst
    b is asked for when burst b - most has come. Bursts of a transfer come evenly.
    """
    behind = np.full(len(priced.cycles), -1, np.int64)
    ahead = np.zeros_like(behind)
    for engine in target.engines:
        queue = queues[core.ENGINES.index(engine.name)]
        moves = queue[priced.channel[queue] >= 0]
        if not len(moves):
            continue
        link = target.channel_of(engine.name)
        bursts = priced.bus[moves] // link.burst_bytes
        ends = np.cumsum(bursts)
        oldest = ends - bursts - cost.most_requests(link, engine.requests)
        at = np.searchsorted(ends, oldest, side="right")
        later = ends[at] - 1 - oldest
        behind[moves] = np.where(oldest >= 0, moves[at], -1)
        ahead[moves] = later * priced.cycles[moves[at]] // bursts[at]
    return behind, ahead
