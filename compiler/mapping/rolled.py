"""Where a search looks at rings of rows, too, and when one is better than tiles loaded anew.

A ring asks for tiles of all input channels, in other loop orders. So it is a search of its own, and
only where the mapping that was found without one reads rows of an ifmap twice.
"""

import numpy as np
from msgspec.structs import replace

from .cost import Problem, repetitions
from .mapping import Mapping
from .moves import TILE, transfer
from .rings import rolling
from .space import Choice, trips

SHARED = 0.02
"""Of all bytes that a mapping moves, those of rows that were there before: fewer are let be."""


def in_ring(problem: Problem) -> Problem | None:
    """With the ifmap in a ring of rows given, where it can be; what is given stays."""
    found, given = rolling(problem.load), problem.given
    if found is None or given.ring is not None or not problem.moves(found.access):
        return None
    role, dims = found.access.role, problem.load.dims
    sums = [v for v in problem.load.reduction if v in found.access.variables()]
    cut = any(given.step(v, dims[v]) not in (None, dims[v]) for v in sums)
    if cut or given.attached or role in (given.whole or ()):
        return None
    steps = {**given.steps, **{v: dims[v] for v in sums}}
    return replace(problem, given=replace(given, ring=(role,), steps=steps))


def reads_twice(problem: Problem, chosen: Mapping, moved: int) -> bool:
    """Whether the rows that tiles of the ifmap share are a part worth mentioning of all bytes that
    are `moved`, each time that one is loaded again; or it is loaded whole before the first tile."""
    found = rolling(problem.load)
    if found is None or found.access.role in chosen.resident:
        return found is not None
    steps = {v: np.array([s]) for v, s in chosen.steps.items()}
    choice = Choice(chosen.order, chosen.resident, 1, chosen.slots)
    number = repetitions(found.access, choice, trips(problem.load, steps))
    bus, _ = transfer(problem, found.access, TILE, steps)
    rows = found.access.box[found.axis].largest(steps)
    again = np.maximum(rows - found.new_rows(steps), 0) / rows
    return bool(number * bus * again > SHARED * moved)
