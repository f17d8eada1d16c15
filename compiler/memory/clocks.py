"""Vector clocks: what each instruction knows, and which waits tell it all that it needs.

What an instruction knows is, of each engine, how many instructions have retired when it has: those
that it waits for and all that these knew. Whoever knows of an instruction knows what that one knew;
so it does not matter to what is known which of several ways told it. Arrays are of all
instructions at once, or of some.
"""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from dnncc.isa import core

Ints = npt.NDArray[np.int64]
Counts = npt.NDArray[np.int32]
Bools = npt.NDArray[np.bool_]

ENGINES = len(core.ENGINES)


def queues_of(engine: Ints) -> list[Ints]:
    """The instructions of each engine, in order."""
    return [np.flatnonzero(engine == e) for e in range(ENGINES)]


def counted(needs: Ints, engine: Ints) -> Counts:
    """What is needed, and of its own engine all before it and itself: int32[n, engines]."""
    found = needs.astype(np.int32)
    for e, queue in enumerate(queues_of(engine)):
        found[queue, e] = np.arange(1, len(queue) + 1)
    return found


def known(needs: Ints, engine: Ints, least: Counts, begin: int = 0) -> Counts:
    """What each instruction knows when it has retired, itself included, `least` being known, and
    all up to `begin`: what follows along waits, queues and control grows until it grows no more.
    Compiled programs take four rounds, whatever their length."""
    queues, control = queues_of(engine), np.flatnonzero(engine == core.CONTROL)
    ways = [(rows := np.flatnonzero(of), queues[e][of[rows] - 1]) for e, of in enumerate(needs.T)]
    freed = np.arange(control[0] + 1, len(engine)) if len(control) else control
    ways.append((freed, control[np.searchsorted(control, freed) - 1]))
    ways = [(rows[later], of[later]) for rows, of in ways for later in [rows >= begin]]
    lines = [line[max(np.searchsorted(line, begin) - 1, 0) :] for line in (*queues, control)]
    grown, sum_before = least.copy(), -1
    while (sum_after := int(grown[begin:].sum(dtype=np.int64))) != sum_before:
        sum_before = sum_after
        for rows, sources in ways:
            grown[rows] = np.maximum(grown[rows], grown[sources])
        for line in lines:
            grown[line] = np.maximum.accumulate(grown[line], axis=0)
    return grown


def before(knows: Counts, engine: Ints) -> Counts:
    """What each can rely on without waiting: what the one before it on its engine knew, and the
    last control instruction, which all know of."""
    found = np.zeros_like(knows)
    control = np.flatnonzero(engine == core.CONTROL)
    if len(control):
        after = np.arange(control[0] + 1, len(engine))
        found[after] = knows[control[np.searchsorted(control, after) - 1]]
    for queue in queues_of(engine):
        found[queue[1:]] = np.maximum(found[queue[1:]], knows[queue[:-1]])
    return found


def told(waits: Ints, queues: list[Ints], knows: Counts) -> Iterator[Counts]:
    """By engine, int32[n, engines]: what a wait for one of its instructions tells, or nothing."""
    for e, queue in enumerate(queues):
        clock = np.zeros(waits.shape, np.int32)
        rows = np.flatnonzero(waits[:, e])
        clock[rows] = knows[queue[waits[rows, e] - 1]]
        yield clock


def irredundant(waits: Ints, clocks: tuple[Counts, ...]) -> Bools:
    """bool[n, engines]: which waits are left when one after the other is dropped that the others
    tell, with those that were dropped before."""
    kept = waits > 0
    tells = np.stack([clock >= waits for clock in clocks], axis=1)
    for e in range(ENGINES):
        others = kept & (np.arange(ENGINES) != e)
        untold = (waits > 0) & ~others & ~(tells & others[:, :, None]).any(axis=1)
        kept[:, e] &= untold.any(axis=1)
    return kept
