"""A shadow of all memories, that knows of each byte which instruction wrote it last."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from dnncc.isa import image as images

from .accesses import Accesses, Bools, Ints

UNWRITTEN, GIVEN = 0, 1
FIRST = 2
"""What a byte's shadow holds: nothing was written, it is there from the start (constants, inputs),
or FIRST + the number of the instruction that wrote it."""

SHADOW = np.dtype(np.int32)
Shadows = npt.NDArray[np.int32]


class Unwritten(NamedTuple):
    """A row of Accesses that reads `size` bytes that nothing has written; `byte` is the first."""

    row: int
    byte: int
    size: int


class Shadow:
    """The state of all memories; `used` says of each value of a byte's shadow whether one has been
    read."""

    def __init__(self, found: Accesses, image: images.Image, count: int) -> None:
        self.rows = list(zip(*plain(found), strict=True))
        self.rows_of = by_instruction(found)
        self.used: Bools = np.zeros(FIRST + count, np.bool_)
        self.memories = [np.zeros(size, SHADOW) for size in reached(found)]
        self.memories[0][: len(image.rodata)] = GIVEN
        for symbol in (s for s in image.symbols if s.kind == "input"):
            self.memories[symbol.memory][symbol.address : symbol.stop] = GIVEN

    def step(self, index: int) -> list[Unwritten]:
        """Execute an instruction; what it reads unwritten counts as given from then on."""
        wrong = []
        for row in self.rows_of.get(index, ()):
            writers = self.writers(row)
            if self.rows[row][0]:
                writers[...] = FIRST + index
            elif not self.read(writers):
                wrong.append(self.unwritten(row))
                writers[writers == UNWRITTEN] = GIVEN
        return wrong

    def forget(self, memory: int, start: int, stop: int) -> None:
        """What the bytes hold is of no one's concern any more."""
        self.memories[memory][start:stop] = UNWRITTEN

    def note(self, instructions: Ints) -> None:
        """Someone has read what these wrote."""
        self.used[FIRST + instructions] = True

    def unused(self, found: Accesses) -> Ints:
        """Instructions that write, but nothing that anyone has read."""
        wrote = np.zeros(len(self.used) - FIRST, np.bool_)
        wrote[found.instruction[found.is_write]] = True
        return np.flatnonzero(wrote & ~self.used[FIRST:])

    def writers(self, row: int) -> Shadows:
        """The shadow of a row's bytes, in place."""
        _, memory, start, run, frame = self.rows[row]
        buffer: Shadows = self.memories[memory]
        if not frame:
            return buffer[start : start + run]
        step = SHADOW.itemsize
        shape = (*(size for size, _ in frame), run)
        strides = (*(stride * step for _, stride in frame), step)
        return np.ndarray(shape, SHADOW, buffer, start * step, strides)

    def read(self, writers: Shadows) -> bool:
        """Note whose bytes are read; whether all were written."""
        low, high = int(np.minimum.reduce(writers, None)), int(np.maximum.reduce(writers, None))
        if low == high:
            self.used[low] = True
        else:
            self.used[writers.reshape(-1)] = True
        return low != UNWRITTEN

    def unwritten(self, row: int) -> Unwritten:
        _, _, start, run, frame = self.rows[row]
        offsets: Ints = np.arange(run)
        for size, stride in reversed(frame):
            offsets = ((np.arange(size) * stride)[:, None] + offsets).reshape(-1)
        missing = offsets[self.writers(row).reshape(-1) == UNWRITTEN]
        return Unwritten(row, start + int(missing.min()), len(missing))


def by_instruction(found: Accesses) -> dict[int, range]:
    """The rows of each instruction that has any."""
    first = np.flatnonzero(np.diff(found.instruction, prepend=-1))
    edges = [*first.tolist(), len(found)]
    rows = map(range, edges[:-1], edges[1:])
    return dict(zip(found.instruction[first].tolist(), rows, strict=True))


def plain(found: Accesses) -> Sequence[Sequence[Any]]:
    """The columns that a step needs, as lists: is_write, memory, start, run, frame."""
    frames: list[list[tuple[int, int]]] = [[]] * len(found)
    strided = np.flatnonzero(~found.dense())
    some = found.take(strided)
    columns = (strided, some.sizes, some.strides)
    for row, *pair in zip(*(c.tolist() for c in columns), strict=True):
        frames[row] = [(size, stride) for size, stride in zip(*pair, strict=True) if size > 1]
    plain_columns = (found.is_write, found.memory, found.start, found.run)
    return [*(c.tolist() for c in plain_columns), frames]


def reached(found: Accesses) -> list[int]:
    """Bytes of each memory up to the last that any row touches."""
    sizes: list[int] = found.reach(images.MOST_MEMORIES).tolist()
    return sizes
