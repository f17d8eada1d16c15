"""Candidates for races by machine code, of hazards.c: 0.1 us an instruction, of 1."""

import ctypes
from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from .. import hazards
from ..accesses import Accesses, Ints
from ..clocks import ENGINES, Clocks
from .clocks import first_of_queues
from .code import Column, Number, Source, address, result

ROOM = 1 << 16
"""Pairs that there is room for at first."""

COLUMNS = (
    *("engine", "known", "queue", "issued"),
    *("first", "rows", "start", "stop", "memory", "is_write"),
)


class State(ctypes.Structure):
    """`struct accesses` of hazards.c."""

    _fields_ = [
        *((name, Number) for name in ("count", "engines", "most")),
        *((name, Column) for name in COLUMNS),
    ]


class Pairs(ctypes.Structure):
    """`struct pairs` of hazards.c."""

    _fields_ = [("earlier", Column), ("later", Column), ("room", Number), ("found", Number)]


def candidates(found: Accesses, clocks: Clocks) -> tuple[Ints, Ints] | None:
    """Pairs of rows as hazards.candidates finds them, in another order; None where there is no
    code."""
    return result(
        Source("dnncc.runtime", "hazards.c"),
        len(clocks.engine),
        lambda library: run(library, found, clocks),
        lambda pairs: same([pairs], hazards.candidates(found, clocks)),
    )


def same(one: Iterable[tuple[Ints, Ints]], other: Iterable[tuple[Ints, Ints]]) -> bool:
    """Whether these are the same pairs, in any order."""
    none = np.zeros((2, 0), np.int64)
    a, b = (np.hstack([none, *map(np.stack, found)]) for found in (one, other))
    return np.array_equal(a[:, np.lexsort(a)], b[:, np.lexsort(b)])


def run(library: Any, found: Accesses, clocks: Clocks) -> tuple[Ints, Ints]:
    queues = [clocks.queue(engine) for engine in range(ENGINES)]
    queue, first = np.concatenate(queues, dtype=np.int32), first_of_queues(clocks.engine)
    issued, rows = np.zeros(ENGINES, np.int32), found.bounds(len(clocks.engine))
    order = np.ascontiguousarray(clocks.engine), np.ascontiguousarray(clocks.known), queue, issued
    places = first, rows, found.start, found.stop, found.memory, found.is_write
    columns: tuple[npt.NDArray[Any], ...] = (*order, *places)
    state = State(len(rows) - 1, ENGINES, hazards.MOST_PAIRS, *map(address, columns))
    earlier, later = np.zeros((2, ROOM), np.int64)
    while (count := fill(library, state, earlier, later)) > len(earlier):
        earlier, later = np.zeros((2, count), np.int64)
    return earlier[:count], later[:count]


def fill(library: Any, state: State, earlier: Ints, later: Ints) -> int:
    """Write as many pairs as there is room for; how many there are."""
    pairs = Pairs(address(earlier), address(later), len(earlier), 0)
    library.find(ctypes.byref(state), ctypes.byref(pairs))
    return int(pairs.found)
