"""What must have ended when an instruction begins: engine order, waits and control barriers.

The length of queues and all times are left out: what only they keep apart is not in order.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dnncc.isa import control, core
from dnncc.isa import program as programs

Ints = npt.NDArray[np.int64]
Counts = npt.NDArray[np.int32]
Bools = npt.NDArray[np.bool_]
ENGINES = len(core.ENGINES)
ROUNDS = 32
LONG = 5_000
"""Instructions from which machine code finds all of it, if there is any."""


@dataclass(frozen=True, slots=True)
class Clocks:
    """Per instruction: its `engine`, its `number` on it from 1 (0 for control), how many were
    `issued` to each engine before it, and how many of those are `known` to have ended when it
    begins, int32[count, ENGINES]."""

    engine: Ints
    number: Ints
    issued: Counts
    known: Counts

    @classmethod
    def of(cls, program: programs.Program) -> "Clocks":
        engine = np.asarray(program.engine_of, np.int64)
        waits, drains = np.asarray(program.waits, np.int64), drained(program)
        found = by_machine(engine, waits, drains) if len(engine) >= LONG else None
        return vectorised(engine, waits, drains) if found is None else found

    def queue(self, engine: int) -> Ints:
        """The instructions of an engine, in order."""
        return np.flatnonzero(self.engine == engine)


def drained(program: programs.Program) -> Bools:
    """Which instructions wait for all: Halt."""
    return np.asarray(np.asarray(program.opcodes) == control.Halt.opcode)


def by_machine(engine: Ints, waits: Ints, drains: Bools) -> Clocks | None:
    from .native import clocks  # short programs do not wait for what it imports

    found = clocks.found(engine, waits, drains)
    return None if found is None else Clocks(engine, *found)


def vectorised(engine: Ints, waits: Ints, drains: Bools) -> Clocks:
    mine = engine[:, None] == np.arange(ENGINES)
    through = np.cumsum(mine, axis=0, dtype=np.int32)
    number, issued = (through * mine).sum(axis=1), through - mine
    waits = np.where(drains[:, None], issued, np.minimum(waits, issued))
    begins = known_at_once(engine, waits)
    return Clocks(engine, number, issued, known(engine, waits) if begins is None else begins)


def known_at_once(engine: Ints, waits: Ints) -> Counts | None:
    """As `known`, over all instructions at a time: what is known grows along waits, queues and
    barriers until it grows no more. None if that takes more than ROUNDS; compiled programs take
    four, whatever their length."""
    queues = [np.flatnonzero(engine == e) for e in range(ENGINES)]
    control = np.flatnonzero(engine < 0)
    grown = waits.astype(np.int32)
    for e, queue in enumerate(queues):
        grown[queue, e] = np.arange(len(queue))
    told = [
        (rows, queues[e][waits[rows, e] - 1]) for e, rows in enumerate(map(np.flatnonzero, waits.T))
    ]
    freed = np.arange(control[0] + 1, len(engine)) if len(control) else control
    told.append((freed, control[np.searchsorted(control, freed) - 1]))
    for _ in range(ROUNDS):
        before = int(grown.sum(dtype=np.int64))
        for rows, sources in told:
            grown[rows] = np.maximum(grown[rows], grown[sources])
        for queue in (*queues, control):
            grown[queue] = np.maximum.accumulate(grown[queue], axis=0)
        if int(grown.sum(dtype=np.int64)) == before:
            return grown
    return None


def known(engine: Ints, waits: Ints) -> Counts:
    """Vector clocks: who waits for an instruction knows what that one knew, and itself.

    `last` is what each engine's next instruction knows by coming after its own last one, `ends`
    what each ended instruction knows, and `barrier` what all know that are issued from here on.
    """
    begins: list[list[int]] = []
    last = [[0] * ENGINES for _ in range(ENGINES)]
    ends: list[list[list[int]]] = [[] for _ in range(ENGINES)]
    barrier = [0] * ENGINES
    for e, row in zip(engine.tolist(), waits.tolist(), strict=True):
        mine = list(map(max, last[e], barrier)) if e >= 0 else barrier
        for other, count in enumerate(row):
            if count > mine[other]:
                mine = list(map(max, mine, ends[other][count - 1]))
        begins.append(mine)
        if e < 0:
            barrier = mine
        else:
            mine = mine.copy()
            mine[e] += 1
            last[e] = mine
            ends[e].append(mine)
    return np.array(begins, np.int32).reshape(-1, ENGINES)
