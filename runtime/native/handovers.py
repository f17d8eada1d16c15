"""Reads of what one write made by machine code, of handovers.c: 0.02 us a row, of 0.1."""

import ctypes
from typing import Any

import numpy as np
import numpy.typing as npt

from .. import handovers
from ..accesses import Accesses, Counts, Ints
from .code import Column, Number, Source, address, result

ROOM = 1 << 17
"""Blocks that there is room for at first, a power of two."""

COLUMNS = ("instruction", "frame", "unit", "start", "stop", "run", "is_write")


class Rows(ctypes.Structure):
    """`struct accesses` of handovers.c."""

    _fields_ = [("count", Number), *((name, Column) for name in COLUMNS)]


class Blocks(ctypes.Structure):
    """`struct blocks` of handovers.c."""

    _fields_ = [
        *((name, Number) for name in ("room", "slots", "found")),
        *((name, Column) for name in ("slot", "unit", "of", "start", "stop")),
    ]


class Pieces(ctypes.Structure):
    """`struct pieces` of handovers.c."""

    _fields_ = [(name, Column) for name in ("piece", "last", "odd", "made")]


def last_writes(found: Accesses, home: Counts) -> tuple[Ints, Ints] | None:
    """As handovers.last_writes; None where there is no code."""
    return result(
        Source("dnncc.runtime", "handovers.c"),
        int(found.instruction[-1]) + 1,
        lambda library: run(library, found, home),
        lambda plain: same(plain, handovers.last_writes(found, home)),
    )


def same(one: tuple[Ints, Ints], other: tuple[Ints, Ints]) -> bool:
    """Whether these are the same instructions, in any order, and the same rows."""
    return {*one[0].tolist()} == {*other[0].tolist()} and np.array_equal(one[1], other[1])


def run(library: Any, found: Accesses, home: Counts) -> tuple[Ints, Ints]:
    places = (found.start, found.stop, np.ascontiguousarray(found.frames.run))
    columns: tuple[npt.NDArray[Any], ...] = (found.instruction, found.frame, home, *places)
    rows = Rows(len(found), *map(address, (*columns, found.is_write)))
    of = np.empty(len(found), np.int32)
    unit, start, stop = gathered(library, rows, of)
    order, pieces = handovers.by_piece(start, stop, unit)
    piece = np.empty(len(order), np.int32)
    piece[order] = pieces - 1  # from 1 on
    odd, made = np.zeros(len(order), np.bool_), np.zeros(int(found.instruction[-1]) + 1, np.bool_)
    last = np.full(len(order), -1, np.int32)
    known = Pieces(*map(address, (piece, last, odd, made)))
    library.follow(ctypes.byref(rows), ctypes.byref(Blocks(of=address(of))), ctypes.byref(known))
    others = np.append(odd[piece], False)[of] if odd.any() else np.zeros(0, np.bool_)  # -1: none
    return np.flatnonzero(made), np.flatnonzero(others)


def gathered(library: Any, rows: Rows, of: Counts) -> tuple[Counts, Ints, Ints]:
    """The unit, first and last byte of each block; which of them the rows are is written into
    `of`."""
    room = ROOM
    while True:
        slot, unit = np.full(2 * room, -1, np.int32), np.empty(room, np.int32)
        start, stop = np.empty((2, room), np.int64)
        columns: tuple[npt.NDArray[Any], ...] = (slot, unit, of, start, stop)
        blocks = Blocks(room, len(slot), 0, *map(address, columns))
        if library.gather(ctypes.byref(rows), ctypes.byref(blocks)):
            return unit[: blocks.found], start[: blocks.found], stop[: blocks.found]
        room *= 4
