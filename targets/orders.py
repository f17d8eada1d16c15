"""What is to be timed by events.py, as arrays."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]


class Orders(NamedTuple):
    """What is to be timed; int64[count] unless noted, -1 for no instruction.

    `waited` holds per engine the instruction that has to end first, [count, engines], `slot`
    the one that has to leave the queue first, `channel` the DRAM channel or -1, `held` the cycles
    that it is taken for, `latency` those from a DRAM request to its first byte, `cycles` the time
    that the engine is busy. A transfer may be asked for `ahead` cycles before the end of the one
    that it is `behind`. `fetch` is spent in the issue unit. `overlap` is how long before its
    predecessor's end an instruction may begin on the same engine.
    """

    engine: Ints
    waited: npt.NDArray[Any]
    slot: Ints
    fetch: Ints
    channel: Ints
    latency: Ints
    held: Ints
    behind: Ints
    ahead: Ints
    cycles: Ints
    overlap: Ints

    def queues(self) -> list[Ints]:
        """Per engine its instructions, in order."""
        return [np.flatnonzero(self.engine == e) for e in range(self.waited.shape[1])]


class Times(NamedTuple):
    """As events.played finds them, int64[count]."""

    issue: Ints
    begin: Ints
    start: Ints
    end: Ints


def queue_slots(count: int, queues: Sequence[Ints], depth: int) -> Ints:
    """Per instruction the one that has to leave the queue first; -1 where there is room."""
    slot = np.full(count, -1, np.int64)
    for queue in queues:
        slot[queue[depth:]] = queue[:-depth]
    return slot


def overlaps(head: Ints, tail: Ints, hide: Ints, cycles: Ints, queues: Sequence[Ints]) -> Ints:
    """Cycles by which an instruction may begin before the end of the one before it in its queue.

    The array fills for the next tile while this one drains (`tail`) and, as far as it can `hide`
    it, while this one computes.
    """
    overlap = np.zeros_like(cycles)
    for queue in queues:
        before, after = queue[:-1], queue[1:]
        hidden = np.minimum(hide[before], head[after])
        overlap[after] = np.minimum(tail[before] + hidden, cycles[before])
    return overlap
