"""Which transfers make room for the requests of others, over all DMA engines of a program."""

import numpy as np
import numpy.typing as npt

from dnncc.isa import core
from dnncc.targets import Target, cost
from dnncc.targets.requests import window

from .pricing import Prices

Ints = npt.NDArray[np.int64]


def windows(priced: Prices, queues: list[Ints], target: Target) -> tuple[Ints, Ints]:
    """Per instruction, int64[count], `window` of its engine's transfers; -1 and 0 of others."""
    behind = np.full(len(priced.cycles), -1, np.int64)
    ahead = np.zeros_like(behind)
    for engine in target.engines:
        queue = queues[core.ENGINES.index(engine.name)]
        moves = queue[priced.channel[queue] >= 0]
        if not len(moves):
            continue
        link = target.channel_of(engine.name)
        most = cost.most_requests(link, engine.requests)
        bursts = priced.bus[moves] // link.burst_bytes
        at, ahead[moves] = window(bursts, priced.cycles[moves], most)
        behind[moves] = np.where(at >= 0, moves[at], -1)
    return behind, ahead
