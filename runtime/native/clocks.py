"""Vector clocks by machine code, of clocks.c: 0.05 us an instruction, of 0.6."""

import ctypes
from typing import Any

import numpy as np

from ..clocks import ENGINES, Bools, Counts, Ints, vectorised
from .code import Column, Number, Source, address, numbers, result

TRIED = 10_000
"""Instructions whose clocks are compared when the code is new."""

COLUMNS = (
    *("engine", "waits", "drains", "position", "issued", "known"),
    *("queue", "first", "last", "barrier", "now"),
)


class State(ctypes.Structure):
    """`struct clocks` of clocks.c."""

    _fields_ = [
        *((name, Number) for name in ("count", "engines")),
        *((name, Column) for name in COLUMNS),
    ]


def found(engine: Ints, waits: Ints, drains: Bools) -> tuple[Ints, Counts, Counts] | None:
    """The columns `number`, `issued` and `known` of Clocks; None where there is no code."""
    return result(
        Source("dnncc.runtime", "clocks.c"),
        len(engine),
        lambda library: run(library, numbers(engine), numbers(waits.T), drains),
        lambda columns: agrees(columns, engine[:TRIED], waits[:TRIED], drains[:TRIED]),
    )


def run(library: Any, engine: Ints, waits: Ints, drains: Bools) -> tuple[Ints, Counts, Counts]:
    count = len(engine)
    position, queue = np.zeros((2, count), np.int64)
    issued, known = np.empty((2, count, ENGINES), np.int32)
    before = np.cumsum(np.bincount(engine + 1, minlength=ENGINES + 1))
    first = before[:-1] - before[0]
    last, now = np.zeros((ENGINES, ENGINES), np.int32), np.zeros((2, ENGINES), np.int32)
    columns = (engine, waits, drains, position, issued, known, queue, first, last, *now)
    library.find(ctypes.byref(State(count, ENGINES, *map(address, columns))))
    return position, issued, known


def agrees(columns: tuple[Ints, Counts, Counts], engine: Ints, waits: Ints, drains: Bools) -> bool:
    """What begins a program does not depend on how it goes on."""
    slow = vectorised(engine, waits, drains)
    number, issued, known = (column[: len(engine)] for column in columns)
    same = number == slow.number, issued == slow.issued, known == slow.known
    return all(equal.all() for equal in same)
