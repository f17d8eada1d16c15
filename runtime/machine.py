"""The functional state of the accelerator for a batch of independent inputs, as bytes.

Constants are shared by the batch and cannot be written; all else is private to one input and is
filled with POISON before a run, so that what is read before it is written shows.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from msgspec import Struct, field

from dnncc.isa import core
from dnncc.isa import image as images

from .errors import RunError

Array = npt.NDArray[Any]
Guard = Callable[[int, int, Sequence[int], Sequence[int], int], None]
"""Told of each view before it is made: memory, offset, shape, strides and element in bytes."""

POISON = 0xA5
ALIGN = 64


class MachineError(RunError):
    """An access that the machine cannot make; the text is one line."""


def row_bytes(size: int) -> int:
    """Bytes that one input's copy of a memory takes: whole alignment units, so that rows align."""
    return -(-size // ALIGN) * ALIGN


def private_rows(constants: bytes, sizes: Sequence[int]) -> list[int]:
    """Bytes that one input takes in each memory: of DRAM what follows the constants."""
    return [row_bytes(size) for size in (sizes[0] - len(constants), *sizes[1:])]


class Buffers(Struct, eq=False):
    """Arrays that are used again: fresh memory costs a page fault for each 4 KiB."""

    held: dict[str, Array] = field(default_factory=dict)

    def take(self, name: str, shape: tuple[int, ...], kind: Any) -> Array:
        """An array of any content, valid until the next of that name is taken."""
        size = math.prod(shape) * np.dtype(kind).itemsize
        if name not in self.held or len(self.held[name]) < size:
            self.held[name] = np.empty(size, np.uint8)
        found: Array = self.held[name][:size].view(kind).reshape(shape)
        return found


class Machine:
    """Memories of `batch` inputs. Implements dnncc.isa.core.Machine.

    A view lies within its memory or MachineError is raised: NumPy checks each against the whole
    buffer, and the loader has checked the program's regions against each memory.
    """

    def __init__(
        self, constants: bytes, sizes: Sequence[int], batch: int, scratch: Sequence[int] = ()
    ) -> None:
        """Memories of `sizes` bytes; the first is DRAM, which begins with the constants.

        `scratch` are memories after them, of which nothing is asked between instructions.
        """
        self.batch = batch
        self.constants = constants
        self.first_private = len(constants)
        self.rows = private_rows(constants, [*sizes, *scratch])
        self.memories = [np.empty(batch * row, np.uint8) for row in self.rows]
        self.own, self.scratch = len(sizes), tuple(scratch)
        self.buffers = Buffers()
        self.guard: Guard | None = None

    def poison(self, ranges: Sequence[Sequence[tuple[int, int]]] | None = None) -> None:
        """Forget everything but the constants; with `ranges`, those bytes of each memory."""
        for number, memory in enumerate(self.memories[: self.own]):
            rows = memory.reshape(self.batch, -1)
            first = self.first_private if number == core.DRAM else 0
            for low, high in [(first, len(rows[0]) + first)] if ranges is None else ranges[number]:
                rows[:, max(low - first, 0) : max(high - first, 0)] = POISON

    def view(
        self, memory: int, offset: int, shape: tuple[int, ...], strides: tuple[int, ...], code: int
    ) -> Array:
        """Elements of type DTYPES[code] in place, (batch, *shape); strides are in elements.

        Constants are the same bytes for the whole batch, and read-only.
        """
        return self.place(memory, offset, shape, strides, core.DTYPES[code])

    def place(
        self,
        memory: int,
        offset: int,
        shape: tuple[int, ...],
        strides: tuple[int, ...],
        dtype: np.dtype[Any],
    ) -> Array:
        """`view` with any dtype, as the model's inputs and outputs may have."""
        size = dtype.itemsize
        steps = [s * size for s in strides]
        if self.guard is not None:
            self.guard(memory, offset, shape, steps, size)
        try:
            if memory == core.DRAM and offset < self.first_private:
                whole = (self.batch, *shape)
                return np.ndarray(whole, dtype, self.constants, offset, (0, *steps))
            if memory == core.DRAM:
                offset -= self.first_private
            row, buffer = self.rows[memory], self.memories[memory]
            return np.ndarray((self.batch, *shape), dtype, buffer, offset, (row, *steps))
        except (TypeError, ValueError, IndexError):
            what = f"{dtype} {list(shape)} at byte {offset} of memory {memory}"
            raise MachineError(f"out of bounds: {what}") from None

    def symbol(self, symbol: images.Symbol) -> Array:
        """The tensor of a symbol in place, (batch, *shape); a copy of one that is in two places."""
        if symbol.head is not None:
            parts = [self.symbol(part).astype(symbol.type) for part in symbol.parts()]
            return np.concatenate(parts, axis=1 + symbol.head.axis)
        place = symbol.memory, symbol.address, symbol.shape, symbol.strides
        return self.place(*place, symbol.type)
