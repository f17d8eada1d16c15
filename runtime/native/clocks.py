"""Vector clocks by machine code, of clocks.c: 0.05 us an instruction, of 0.6."""

import ctypes
from typing import Any

import numpy as np

from ..clocks import ENGINES, Ints, vectorised
from .code import Column, Number, Source, address, numbers, result

TRIED = 10_000
"""Instructions whose clocks are compared when the code is new."""

COLUMNS = ("engine", "waits", "position", "issued", "known", "queue", "first", "last", "barrier")


class State(ctypes.Structure):
    """`struct clocks` of clocks.c."""

    _fields_ = [
        *((name, Number) for name in ("count", "engines")),
        *((name, Column) for name in COLUMNS),
    ]


def found(engine: Ints, waits: Ints) -> tuple[Ints, Ints, Ints] | None:
    """The columns `number`, `issued` and `known` of Clocks; None where there is no code. Halt waits
    for more than there are."""
    return result(
        Source("dnncc.runtime", "clocks.c"),
        len(engine),
        lambda library: run(library, numbers(engine), numbers(waits)),
        lambda columns: agrees(engine[:TRIED], waits[:TRIED], columns),
    )


def run(library: Any, engine: Ints, waits: Ints) -> tuple[Ints, Ints, Ints]:
    count = len(engine)
    position, queue = np.zeros((2, count), np.int64)
    issued, known = np.empty((2, count, ENGINES), np.int64)
    before = np.cumsum(np.bincount(engine + 1, minlength=ENGINES + 1))
    last, barrier, now = np.zeros((ENGINES, ENGINES), np.int64), *np.zeros((2, ENGINES), np.int64)
    first = before[:-1] - before[0]
    columns = (engine, waits, position, issued, known, queue, first, last, barrier)
    state = State(count, ENGINES, *map(address, columns))
    library.find(ctypes.byref(state), Column(address(now)))
    return position, issued, known


def agrees(engine: Ints, waits: Ints, columns: tuple[Ints, Ints, Ints]) -> bool:
    """What begins a program does not depend on how it goes on."""
    slow = vectorised(engine, waits)
    pairs = zip(columns, (slow.number, slow.issued, slow.known), strict=True)
    return all(np.array_equal(column[: len(engine)], other) for column, other in pairs)
