"""Vector clocks by machine code, of clocks.c: 0.05 us an instruction, of 0.6."""

import ctypes
from typing import Any

import numpy as np

from ..clocks import ENGINES, Bools, Counts, Engines, Ints, vectorised
from .code import Column, Number, Source, address, result

TRIED = 10_000
"""Instructions whose clocks are compared when the code is new."""

COLUMNS = ("engine", "waits", "drains", "known", "queue", "first", "last", "barrier", "now")


class State(ctypes.Structure):
    """`struct clocks` of clocks.c."""

    _fields_ = [
        *((name, Number) for name in ("count", "engines")),
        *((name, Column) for name in COLUMNS),
    ]


def found(engine: Engines, waits: Counts, drains: Bools) -> Counts | None:
    """The column `known` of Clocks; None where there is no code."""
    return result(
        Source("dnncc.runtime", "clocks.c"),
        len(engine),
        lambda library: run(library, engine, waits, drains),
        lambda known: agrees(known, engine[:TRIED], waits[:TRIED], drains[:TRIED]),
    )


def run(library: Any, engine: Engines, waits: Counts, drains: Bools) -> Counts:
    count = len(engine)
    columns = np.ascontiguousarray(engine, np.int8), np.ascontiguousarray(waits.T, np.int32), drains
    known, queue = np.empty((count, ENGINES), np.int32), np.empty(count, np.int32)
    first = first_of_queues(engine)
    last, now = np.zeros((ENGINES, ENGINES), np.int32), np.zeros((2, ENGINES), np.int32)
    places = map(address, (*columns, known, queue, first, last, *now))
    library.find(ctypes.byref(State(count, ENGINES, *places)))
    return known


def first_of_queues(engine: Engines) -> Ints:
    """Where each engine's instructions begin if those of one follow those of another."""
    before = np.cumsum(np.bincount(engine + 1, minlength=ENGINES + 1))
    return np.asarray(before[:-1] - before[0], np.int64)


def agrees(found: Counts, engine: Engines, waits: Counts, drains: Bools) -> bool:
    """What begins a program does not depend on how it goes on."""
    return np.array_equal(found[: len(engine)], vectorised(engine, waits, drains))
