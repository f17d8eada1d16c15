"""Waits that imply all that instructions need, and of which none is implied by others."""

from collections.abc import Iterable
from itertools import islice
from typing import NamedTuple

import numpy as np

from dnncc.isa import core

from .clocks import ENGINES, Bools, Counts, Ints, Order, before, counted, irredundant, learn, told

LONG = 2_000
"""Instructions from which many are looked at together."""

TOGETHER = 1 << 14
"""So many: what they know, and what comparing their waits takes, stays in the cache."""


def reduced(needs: Counts, engine: Ints, issued: Counts) -> Counts:
    """How many of each engine's instructions must be retired first, and are waited for, or 0:
    int32[n, engines], of those that `needs` says and those `issued` before."""
    found, count = Reduction.of(needs, engine, issued), len(needs)
    if count < LONG:
        found.one_by_one(0, count)
    else:
        for begin in range(0, count, TOGETHER):
            found.at_once(begin, min(begin + TOGETHER, count))
    return found.waits


class Reduction(NamedTuple):
    """What is asked for, and what is found, from the first instruction on: the `waits` that are
    left, and what each `knows` when it has retired, where before stood what it needs."""

    needs: Counts
    engine: Ints
    issued: Counts
    order: Order
    knows: Counts
    waits: Counts

    @classmethod
    def of(cls, needs: Counts, engine: Ints, issued: Counts) -> "Reduction":
        order = Order.of(engine)
        knows = counted(needs, order)
        return cls(needs, engine, issued, order, knows, np.zeros_like(needs))

    def reach(self, begin: int, end: int) -> Counts:
        """The needs of some, and in place of those that are too far back for the field of a wait
        nearer instructions, which imply them."""
        needs, nearest = self.needs[begin:end], self.issued[begin:end] + 1 - core.FARTHEST_WAIT
        return np.where(needs > 0, np.maximum(needs, nearest), 0)

    def at_once(self, begin: int, end: int) -> None:
        """Many instructions. A wait that is nearer than its need tells more than that, if it is
        kept; so where there are such, one instruction is looked at after the other."""
        while begin < end:
            learn(self.knows, self.needs, self.order, begin, end)
            needs = self.needs[begin:end]
            asked = needs > before(self.knows, self.order, begin, end)
            nearer = asked & (self.reach(begin, end) > needs)
            first, behind = first_cluster(np.flatnonzero(nearer.any(axis=1)), len(asked))
            self.keep(begin, asked[:first])
            if first < behind:
                self.one_by_one(begin + first, begin + behind)
            begin += behind

    def keep(self, begin: int, asked: Bools) -> None:
        """Of the waits that are `asked` for by the instructions from `begin` on, those that no
        others imply."""
        span = slice(begin, begin + len(asked))
        waits = np.ascontiguousarray((self.needs[span] * asked).T)
        tells = tuple(told(waits, self.order.queues, self.knows))
        self.waits[span] = (waits * irredundant(waits, tells)).T

    def one_by_one(self, begin: int, end: int) -> None:
        """One after the other.

        `last[e]` is what engine e's next instruction can rely on, last[CONTROL] what all can that
        come after the last control instruction; `ended` is what each retired instruction could, so
        that waiting for it is knowing as much; of those before `begin`, the ones in reach.
        """
        span, engine = slice(begin, end), self.engine
        queues = [queue[: np.searchsorted(queue, begin)] for queue in self.order.queues]
        gone = np.array([max(len(queue) - core.FARTHEST_WAIT, 0) for queue in queues])
        ended = [self.knows[q[first:]].tolist() for q, first in zip(queues, gone, strict=True)]
        controls = self.order.control[: np.searchsorted(self.order.control, begin)]
        barrier = self.knows[controls[-1:]].tolist() or [[0] * ENGINES]
        last = [np.max([*barrier, *mine[-1:]], axis=0).tolist() for mine in (*ended, barrier)]
        reach = self.reach(begin, end)
        row, of = np.nonzero(reach)
        needed, place = self.needs[span][row, of], reach[row, of] - 1 - gone[of]
        asked = zip(of.tolist(), needed.tolist(), place.tolist(), strict=True)
        number = np.bincount(row, minlength=end - begin).tolist()
        kept: list[tuple[int, int]] = []
        clocks: list[list[int]] = []
        rows = zip(engine[span].tolist(), number, strict=True)
        for index, (own, count) in enumerate(rows, begin):
            mine, given = last[own].copy(), last[own]
            told = {e: (n, ended[e][at]) for e, n, at in islice(asked, count) if n > given[e]}
            for other in enough(told):
                kept.append((index, other))
                mine = list(map(max, mine, told[other][1]))
            clocks.append(mine)
            if own == core.CONTROL:
                last = [mine] * (ENGINES + 1)
                continue
            mine[own] += 1
            last[own] = mine
            ended[own].append(mine)
        self.knows[span] = np.array(clocks, np.int32).reshape(-1, ENGINES)
        row, of = np.array(kept, np.int64).reshape(-1, 2).T
        self.waits[row, of] = reach[row - begin, of]


def first_cluster(places: Ints, count: int) -> tuple[int, int]:
    """From the first of `places`, which are sorted, to behind the one that no other follows for
    LONG; `count` twice if there is none."""
    if not len(places):
        return count, count
    lone = np.append(np.diff(places), LONG) >= LONG
    return int(places[0]), int(places[lone][0]) + 1


Told = dict[int, tuple[int, list[int]]]
"""By engine: how many of its instructions must be retired, and the clock of the last of them."""


def enough(told: Told) -> Iterable[int]:
    """The engines whose clocks are enough to know what all of them were asked for."""
    if len(told) < 2:
        return told
    if len(told) == 2:
        (a, (need_a, clock_a)), (b, (need_b, clock_b)) = told.items()
        return (b,) if clock_b[a] >= need_a else (a,) if clock_a[b] >= need_b else (a, b)
    kept = list(told)
    for other in told:
        rest = [told[e][1] for e in kept if e != other]
        open_ = [(e, need) for e, (need, _) in told.items() if e == other or e not in kept]
        if all_known(open_, rest):
            kept.remove(other)
    return kept


def all_known(needs: list[tuple[int, int]], clocks: list[list[int]]) -> bool:
    """Whether, of each engine, some clock knows as many."""
    for engine, need in needs:
        for clock in clocks:
            if clock[engine] >= need:
                break
        else:
            return False
    return True
