"""Whether times obey the rules of targets/events.py.

The rules have one solution: every time follows from times of earlier instructions and, on a DRAM
channel, of requests that came before; a transfer takes at least a cycle, so none waits for itself.
So times that obey them, wherever they come from, are those of the event loop.
"""

import numpy as np
import numpy.typing as npt

from dnncc.targets.orders import Orders, Times

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


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
    """A channel serves transfers by when their first byte is there, then by engine, then in program
    order."""
    there = times.begin[moves] + orders.latency[moves]
    order = np.lexsort((moves, orders.engine[moves], there))
    moves, first_byte = moves[order], there[order]
    taken = np.zeros(len(moves), np.int64)
    taken[1:] = (times.start + orders.held)[moves[:-1]]
    expected = np.maximum(np.maximum(first_byte, taken), free[moves])
    return bool(np.array_equal(times.start[moves], expected))
