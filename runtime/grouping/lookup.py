"""Elementwise instructions on bytes as look-up tables: every result is computed once.

A table is what the instruction itself gives for all operands, so there is no second arithmetic. A
sum of two int8 tensors takes 2 ns an element so, 20 in float64 as fma asks for.
"""

from typing import Any

import numpy as np
from msgspec import Struct, field

from dnncc.isa import blocks, core, elementwise, numerics

from ..machine import Array, Machine
from .boxes import Block

BYTE = 256


I8, U8 = 0, 1
HALVES = np.dtype([("low", "u1"), ("high", "u1")])


class Pairs(Struct, eq=False):
    """An Elementwise instruction of two operands whose values take a byte.

    Operands of 16 bits, as an accelerator with 16-bit words keeps its maps, are measured first.
    """

    instruction: elementwise.Elementwise
    tables: dict[tuple[int, int], Array] = field(default_factory=dict)

    mnemonic = "elementwise"

    def execute(self, machine: Machine) -> None:
        item = self.instruction
        a, b, out = (item.operand(machine, name) for name in ("a", "b", "out"))
        codes = (byte_code(a), byte_code(b))
        if codes[0] is None or codes[1] is None:
            item.execute(machine)
            return
        index = machine.buffers.take("index", out.shape, np.uint16)
        np.multiply(low_byte(a), BYTE, out=index, dtype=np.uint16)
        np.add(index, low_byte(b), out=index)
        out[...] = self.table(codes[0], codes[1], out.dtype).take(index)

    def table(self, a: int, b: int, dtype: np.dtype[Any]) -> Array:
        """The results for all pairs of bytes; made once."""
        if (a, b) not in self.tables:
            first, second = (np.arange(BYTE, dtype=np.uint8).view(core.DTYPES[c]) for c in (a, b))
            with np.errstate(all="ignore"):
                made = self.instruction.result(np.repeat(first, BYTE), np.tile(second, BYTE), dtype)
            self.tables[a, b] = made
        return self.tables[a, b]


class Single(Struct, eq=False):
    """A Map instruction of an operand whose values take a byte; `place` is its table's, if any."""

    instruction: elementwise.Map
    place: Block | None
    tables: dict[int, Array] = field(default_factory=dict)

    mnemonic = "map"

    def execute(self, machine: Machine) -> None:
        item = self.instruction
        x = blocks.view(machine, item.x, item.sizes(), item.strides("x"), item.x_dtype)
        out = blocks.view(machine, item.out, item.sizes(), item.strides("out"), item.out_dtype)
        code = byte_code(x)
        if code is None:
            out[...] = self.results(machine, x, out.dtype)
            return
        if code not in self.tables:
            values = np.arange(BYTE, dtype=np.uint8).view(core.DTYPES[code])
            self.tables[code] = self.results(machine, values, out.dtype)
        out[...] = self.tables[code].take(low_byte(x))

    def results(self, machine: Machine, x: Array, dtype: np.dtype[Any]) -> Array:
        if self.place is None:
            return np.asarray(numerics.saturate(self.instruction.result(x), dtype))
        place, entries = self.place, (elementwise.TABLE_ENTRIES,)
        table = machine.view(place.memory, place.start, entries, place.strides, place.code)[0]
        index = x.astype(np.intp) - self.instruction.first
        return np.asarray(numerics.saturate(table.take(index, mode="clip"), dtype))


def byte_code(values: Array) -> int | None:
    """The type of a byte that holds all of them, None if neither does."""
    if values.dtype.itemsize == 1:
        return core.dtype_code(values.dtype)
    low, high = int(values.min(initial=0)), int(values.max(initial=0))
    if low >= 0 and high < BYTE:
        return U8
    return I8 if low >= -BYTE // 2 and high < BYTE // 2 else None


def low_byte(values: Array) -> Array:
    """As uint8, in place."""
    return values.view(np.uint8) if values.dtype.itemsize == 1 else values.view(HALVES)["low"]
