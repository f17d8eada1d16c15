"""Waits that imply all that instructions need, and of which none is implied by others."""

from collections.abc import Iterable
from itertools import islice

import numpy as np

from dnncc.isa import core

from .clocks import (
    ENGINES,
    Bools,
    Counts,
    Ints,
    before,
    counted,
    irredundant,
    known,
    queues_of,
    told,
)

LONG = 2_000
"""Instructions from which many are looked at together."""

TOGETHER = 1 << 14
"""So many: what comparing their waits takes stays in the cache."""


def reduced(needs: Ints, engine: Ints, issued: Ints) -> Ints:
    """How many of each engine's instructions must be retired first, and are waited for, or 0:
    int64[n, engines], of those that `needs` says and those `issued` before."""
    # What is too far back for the field of a wait is implied by a nearer instruction.
    reach = np.where(needs > 0, np.maximum(needs, issued + 1 - core.FARTHEST_WAIT), 0)
    if len(needs) < LONG:
        kept = one_by_one(needs, reach, engine, np.zeros(needs.shape, np.int32), 0, len(needs))
    else:
        kept = at_once(needs, reach, engine)
    return np.where(kept, reach, 0)


def at_once(needs: Ints, reach: Ints, engine: Ints) -> Bools:
    """Which waits are kept. One that is nearer than its need tells more than that, if it is kept;
    so where there are such, one instruction is looked at after the other."""
    knows, end = counted(needs, engine), 0
    kept, open_ = np.zeros(needs.shape, np.bool_), np.ones(len(needs), np.bool_)
    while True:
        knows = known(needs, engine, knows, end)
        asked = needs > before(knows, engine)
        nearer = np.flatnonzero((asked & (reach > needs))[end:].any(axis=1)) + end
        if not len(nearer):
            break
        begin = int(nearer[0])
        end = int(nearer[np.append(np.diff(nearer), LONG) >= LONG][0]) + 1
        kept |= one_by_one(needs, reach, engine, knows, begin, end)
        open_[begin:end] = False
    kept[open_] = asked[open_]
    queues = queues_of(engine)
    places = np.flatnonzero(open_ & (asked.sum(axis=1) > 1))
    for rows in np.split(places, range(TOGETHER, len(places), TOGETHER)):
        waits = needs[rows] * asked[rows]
        kept[rows] = irredundant(waits, tuple(told(waits, queues, knows)))
    return kept


def one_by_one(
    needs: Ints, reach: Ints, engine: Ints, knows: Counts, begin: int, end: int
) -> Bools:
    """Which waits are kept, of the instructions from `begin` to `end`, one after the other. What
    they know is put into `knows`, which has that of those before.

    `last[e]` is what engine e's next instruction can rely on, last[CONTROL] what all can that come
    after the last control instruction; `ended` is what each retired instruction could, so that
    waiting for it is knowing as much. Of those before `begin`, these are the ones in reach.
    """
    span = slice(begin, end)
    queues = [np.flatnonzero(engine[:begin] == e) for e in range(ENGINES)]
    gone = np.array([max(len(queue) - core.FARTHEST_WAIT, 0) for queue in queues])
    ended = [knows[q[first:]].tolist() for q, first in zip(queues, gone, strict=True)]
    barrier = knows[:begin][engine[:begin] == core.CONTROL][-1:].tolist() or [[0] * ENGINES]
    last = [np.max([*barrier, *mine[-1:]], axis=0).tolist() for mine in (*ended, barrier)]
    row, of = np.nonzero(needs[span] > 0)
    needed, place = needs[span][row, of], reach[span][row, of] - 1 - gone[of]
    asked = zip(of.tolist(), needed.tolist(), place.tolist(), strict=True)
    number = np.bincount(row, minlength=end - begin).tolist()
    kept: list[tuple[int, int]] = []
    clocks: list[list[int]] = []
    for index, (own, count) in enumerate(zip(engine[span].tolist(), number, strict=True), begin):
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
    knows[span] = np.array(clocks, np.int32).reshape(-1, ENGINES)
    found = np.zeros(needs.shape, np.bool_)
    found[tuple(np.array(kept, np.int64).reshape(-1, 2).T)] = True
    return found


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
