"""What must have ended when an instruction begins: engine order, waits and control barriers.

The length of queues and all times are left out: what only they keep apart is not in order.
"""

import numpy as np
import numpy.typing as npt
from msgspec import Struct

from dnncc.isa import control, core
from dnncc.isa import program as programs

Ints = npt.NDArray[np.int64]
Counts = npt.NDArray[np.int32]
Engines = npt.NDArray[np.int8]
Bools = npt.NDArray[np.bool_]
ENGINES = len(core.ENGINES)
ROUNDS = 32
LONG = 5_000
"""Instructions from which machine code finds all of it, if there is any."""


class Clocks(Struct, frozen=True):
    """Per instruction its `engine`, and how many of those that were issued to each engine before it
    are `known` to have ended when it begins, int32[count, ENGINES]."""

    engine: Engines
    known: Counts

    @classmethod
    def of(cls, program: programs.Program) -> "Clocks":
        engine, waits, drains = program.engine_of, program.waits, drained(program)
        found = by_machine(engine, waits, drains) if len(engine) >= LONG else None
        return cls(engine, vectorised(engine, waits, drains) if found is None else found)

    def queue(self, engine: int) -> Ints:
        """The instructions of an engine, in order."""
        return np.flatnonzero(self.engine == engine)

    def issued(self, engine: int) -> Counts:
        """How many were issued to an engine before each instruction."""
        return issued(self.engine, engine)


def issued(engines: Engines, engine: int) -> Counts:
    mine = engines == engine
    return np.asarray(np.cumsum(mine, dtype=np.int32) - mine)


def drained(program: programs.Program) -> Bools:
    """Which instructions wait for all: Halt."""
    return np.asarray(np.asarray(program.opcodes) == control.Halt.opcode)


def by_machine(engine: Engines, waits: Counts, drains: Bools) -> Counts | None:
    from .native import clocks  # short programs do not wait for what it imports

    return clocks.found(engine, waits, drains)


def vectorised(engine: Engines, waits: Counts, drains: Bools) -> Counts:
    before = np.stack([issued(engine, e) for e in range(ENGINES)], axis=1)
    waits = np.where(drains[:, None], before, np.minimum(waits, before))
    begins = known_at_once(engine, waits)
    return known(engine, waits) if begins is None else begins


def known_at_once(engine: Engines, waits: Counts) -> Counts | None:
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


def known(engine: Engines, waits: Counts) -> Counts:
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
