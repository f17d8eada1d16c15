"""Vector clocks: what each instruction knows, and which waits tell it all that it needs.

What an instruction knows is, of each engine, how many instructions have retired when it has: those
that it waits for and all that these knew. Whoever knows of an instruction knows what that one knew;
so it does not matter to what is known which of several ways told it. Arrays are of all
instructions at once, or of some.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from dnncc.isa import core

Ints = npt.NDArray[np.int64]
Counts = npt.NDArray[np.int32]
Bools = npt.NDArray[np.bool_]

ENGINES = len(core.ENGINES)


class Order(NamedTuple):
    """Which instructions follow which without waits: those of each engine, and all that come after
    a control instruction. int64[n]: their numbers, in program order."""

    queues: list[Ints]
    control: Ints

    @classmethod
    def of(cls, engine: Ints) -> "Order":
        queues = [np.flatnonzero(engine == e) for e in range(ENGINES)]
        return cls(queues, np.flatnonzero(engine == core.CONTROL))

    def lines(self, begin: int, end: int) -> Iterator[Ints]:
        """Those from `begin` to `end` of each engine, and the control instructions, each behind the
        last before `begin`, if there is one."""
        for line in (*self.queues, self.control):
            first, last = np.searchsorted(line, (begin, end))
            yield line[max(first - 1, 0) : last]

    def freed(self, begin: int, end: int) -> tuple[Ints, Ints]:
        """Those from `begin` to `end` that come after a control instruction, and the last such."""
        after = int(self.control[0]) + 1 if len(self.control) else end
        rows = np.arange(max(begin, after), end)
        return rows, self.control[np.searchsorted(self.control, rows) - 1]


def counted(needs: Counts, order: Order) -> Counts:
    """What is needed, and of its own engine all before it and itself: int32[n, engines]."""
    found = needs.copy()
    for e, queue in enumerate(order.queues):
        found[queue, e] = np.arange(1, len(queue) + 1)
    return found


def learn(knows: Counts, needs: Counts, order: Order, begin: int, end: int) -> None:
    """Puts into `knows`, where those before `begin` have theirs and all others what they need, what
    those up to `end` know when they have retired, themselves included: it grows along waits, queues
    and control until it grows no more. Compiled programs take four rounds, whatever their
    length."""
    part = needs[begin:end]
    waiting = [(np.flatnonzero(of), e) for e, of in enumerate(part.T)]
    ways = [(rows + begin, order.queues[e][part[rows, e] - 1]) for rows, e in waiting]
    ways.append(order.freed(begin, end))
    lines = list(order.lines(begin, end))
    grown, sum_before = knows[begin:end], -1
    while (sum_after := int(grown.sum(dtype=np.int64))) != sum_before:
        sum_before = sum_after
        for rows, sources in ways:
            knows[rows] = np.maximum(knows.take(rows, 0), knows.take(sources, 0))
        for line in lines:
            knows[line] = np.maximum.accumulate(knows.take(line, 0))


def before(knows: Counts, order: Order, begin: int, end: int) -> Counts:
    """What those from `begin` to `end` can rely on without waiting: what the one before it on its
    engine knew, and the last control instruction, which all know of."""
    found = np.zeros((end - begin, ENGINES), np.int32)
    rows, sources = order.freed(begin, end)
    found[rows - begin] = knows.take(sources, 0)
    for line in order.lines(begin, end):
        found[line[1:] - begin] = np.maximum(found[line[1:] - begin], knows[line[:-1]])
    return found


def told(waits: Counts, queues: list[Ints], knows: Counts) -> Iterator[Bools]:
    """By engine, bool[engines, n]: which of the `waits`, int32[engines, n], one for its
    instructions implies."""
    for mine, queue in zip(waits, queues, strict=True):
        implied = np.zeros(waits.shape, np.bool_)
        rows = np.flatnonzero(mine)
        implied[:, rows] = knows.take(queue[mine[rows] - 1], 0).T >= waits[:, rows]
        yield implied


def irredundant(waits: Counts, tells: Sequence[Bools]) -> Bools:
    """bool[engines, n]: which waits are left when one after the other is dropped that the others
    tell, with those that were dropped before."""
    kept = waits > 0
    for e, mine in enumerate(kept):
        untold = waits > 0
        for other in set(range(ENGINES)) - {e}:
            untold &= ~(kept[other] & tells[other])
            untold[other] &= ~kept[other]
        mine &= untold.any(axis=0)
    return kept
