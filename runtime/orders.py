"""What is to be timed, as arrays, and whether times obey the rules of events.py.

The rules have one solution: every time follows from times of earlier instructions and, on a DRAM
channel, of requests that came before; a transfer takes at least a cycle, so none waits for itself.
So times that obey them, wherever they come from, are those of the event loop.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


class Orders(NamedTuple):
    """What is to be timed; int64[count] unless noted, -1 for no instruction.

    `waited` holds per engine the instruction that has to end first, int64[count, engines], `slot`
    the one that has to leave the queue first, `channel` the DRAM channel or -1, `held` the cycles
    that it is taken for, `latency` those from a DRAM request to its first byte, `cycles` the time
    that the engine is busy. A transfer may be asked for `ahead` cycles before the end of the one
    that it is `behind`. `fetch` is spent in the issue unit. `overlap` is how long before its
    predecessor's end an instruction may begin on the same engine.
    """

    engine: Ints
    waited: Ints
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


def obey(orders: Orders, times: Times) -> bool:
    """Whether these are the times that the event loop would find."""
    moves = orders.channel >= 0
    if np.any(orders.cycles[moves] <= 0):
        return False
    released = np.zeros(len(times.end), np.int64)
    for column in orders.waited.T:
        np.maximum(released, at(times.end, column), out=released)
    asked, free = previous(orders, times.begin), previous(orders, times.end)
    return (
        issued(orders, times, released)
        and begun(orders, times, np.maximum(times.issue, released), asked, free)
        and bool(np.array_equal(times.end, ends(orders, times, free)))
        and all(granted(orders, times, free, np.flatnonzero(orders.channel == number))
                for number in range(int(orders.channel.max(initial=-1)) + 1))
    )  # fmt: skip


def at(times: Ints, index: Ints) -> Ints:
    """Times of other instructions; 0 where there is none."""
    return np.where(index >= 0, times[index], 0)


def previous(orders: Orders, times: Ints) -> Ints:
    """Times of the instruction before in each one's queue; 0 for the first."""
    found = np.zeros_like(times)
    for queue in orders.queues():
        found[queue[1:]] = times[queue[:-1]]
    return found


def issued(orders: Orders, times: Times, released: Ints) -> bool:
    """In program order; control instructions wait in the issue unit."""
    control = orders.engine < 0
    room = np.where(control, released, at(times.begin, orders.slot))
    before = np.concatenate(([0], times.issue[:-1]))
    return bool(np.array_equal(times.issue, np.maximum(before + orders.fetch, room)))


def begun(orders: Orders, times: Times, ready: Ints, asked: Ints, free: Ints) -> bool:
    """A transfer asks when its window is open, others begin when their engine is free."""
    window = at(times.end, orders.behind) - np.where(orders.behind >= 0, orders.ahead, 0)
    room = np.where(orders.channel >= 0, np.maximum(asked, window), free - orders.overlap)
    control = orders.engine < 0
    expected = np.where(control, times.issue, np.maximum(ready, room))
    apart = orders.channel >= 0
    together = (times.start == times.begin) | apart
    return bool(np.array_equal(times.begin, expected) and together.all())


def ends(orders: Orders, times: Times, free: Ints) -> Ints:
    done = times.start + orders.cycles
    inside = np.where(orders.channel >= 0, done, np.maximum(done, free))
    return np.where(orders.engine < 0, times.issue, inside)


def granted(orders: Orders, times: Times, free: Ints, moves: Ints) -> bool:
    """A channel serves requests by when they came, then by engine, then in program order."""
    moves = moves[np.lexsort((moves, orders.engine[moves], times.begin[moves]))]
    taken = np.zeros(len(moves), np.int64)
    taken[1:] = (times.start + orders.held)[moves[:-1]]
    first_byte = times.begin[moves] + orders.latency[moves]
    expected = np.maximum(np.maximum(first_byte, taken), free[moves])
    return bool(np.array_equal(times.start[moves], expected))
