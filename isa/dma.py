"""Moving blocks between DRAM and the scratchpads."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from .blocks import Block, collides, region
from .core import (
    DRAM,
    DTYPES,
    I16,
    U8,
    U16,
    U32,
    Address,
    DramAddress,
    Dtype,
    Instruction,
    Machine,
    Region,
    Size16,
    StoredDtype,
    dtype_size,
    split_address,
    too_many,
)
from .numerics import saturate

LOWEST = np.array([0 if d.kind == "f" else np.iinfo(d).min for d in DTYPES], np.int64)
HIGHEST = np.array([0 if d.kind == "f" else np.iinfo(d).max for d in DTYPES], np.int64)
IS_FLOAT = np.array([d.kind == "f" for d in DTYPES])
WIDENS = (LOWEST[:, None] >= LOWEST) & (HIGHEST[:, None] <= HIGHEST)
WIDENS &= IS_FLOAT[:, None] == IS_FLOAT
"""[from, to]: whether the second type holds every value of the first, integers and floats apart."""


class Load(Instruction, opcode=0x10, engine="load"):
    """Copy a 4-D strided block from DRAM to a scratchpad, widening, in a frame of `fill`.

    The block is d0 x d1 x d2 x d3 elements of `dram_dtype`, at DRAM byte `dram`, with strides in
    elements. It lands, as `spad_dtype`, inside a frame: `top` rows before and `bottom` rows after
    along d2, `left` and `right` elements along d3 are written with `fill`. The strides in the
    scratchpad are those of the framed block; its innermost is 1. An empty block (a size of 0) reads
    nothing: a frame of it fills memory.
    """

    moving = ("dram", "spad")

    dram: DramAddress
    spad: Address
    d0: U16 = 1
    d1: U16 = 1
    d2: U16 = 1
    d3: U16 = 1
    dram_s0: U32 = 0
    dram_s1: U32 = 0
    dram_s2: U32 = 0
    dram_s3: U16 = 1
    dram_dtype: Dtype = 0
    spad_dtype: Dtype = 0
    spad_s0: U32 = 0
    spad_s1: U32 = 0
    spad_s2: U32 = 0
    top: U8 = 0
    bottom: U8 = 0
    left: U8 = 0
    right: U8 = 0
    fill: I16 = 0

    def sizes(self) -> tuple[Any, Any, Any, Any]:
        return self.d0, self.d1, self.d2, self.d3

    def framed(self) -> tuple[Any, Any, Any, Any]:
        return (
            self.d0,
            self.d1,
            self.d2 + self.top + self.bottom,
            self.d3 + self.left + self.right,
        )

    def dram_strides(self) -> tuple[Any, Any, Any, Any]:
        return self.dram_s0, self.dram_s1, self.dram_s2, self.dram_s3

    def spad_strides(self) -> tuple[Any, Any, Any, Any]:
        return self.spad_s0, self.spad_s1, self.spad_s2, 1

    def reads(self) -> Iterator[Region]:
        element = dtype_size(self.dram_dtype)
        yield Block.at(DRAM, self.dram, self.sizes(), self.dram_strides(), element)

    def writes(self) -> Iterator[Region]:
        element = dtype_size(self.spad_dtype)
        yield region(self.spad, self.framed(), self.spad_strides(), element)

    def faults(self) -> Iterator[tuple[Any, str]]:
        yield too_many(*self.framed()), "the block is too large"
        yield collides(self.framed(), self.spad_strides()), "elements of the frame coincide"
        yield ~WIDENS[self.dram_dtype, self.spad_dtype], "spad_dtype does not hold dram_dtype"
        low, high = LOWEST[self.spad_dtype], HIGHEST[self.spad_dtype]
        yield (self.fill < low) | (self.fill > high), "fill does not fit spad_dtype"

    def execute(self, machine: Machine) -> None:
        source = machine.view(DRAM, self.dram, self.sizes(), self.dram_strides(), self.dram_dtype)
        memory, offset = split_address(self.spad)
        frame = machine.view(memory, offset, self.framed(), self.spad_strides(), self.spad_dtype)
        if self.top or self.bottom or self.left or self.right:
            frame[...] = self.fill
        rows = slice(self.top, self.top + self.d2)
        columns = slice(self.left, self.left + self.d3)
        frame[:, :, :, rows, columns] = source


class Store(Instruction, opcode=0x18, engine="store"):
    """Copy a 4-D strided block from a scratchpad to DRAM, saturating to `dram_dtype`, or widening.

    d0 x d1 x d2 x d3 elements, strides in elements; the innermost stride in the scratchpad is 1.
    """

    moving = ("dram", "spad")

    dram: DramAddress
    spad: Address
    d0: Size16 = 1
    d1: Size16 = 1
    d2: Size16 = 1
    d3: Size16 = 1
    dram_s0: U32 = 0
    dram_s1: U32 = 0
    dram_s2: U32 = 0
    dram_s3: U16 = 1
    dram_dtype: StoredDtype = 0
    spad_dtype: Dtype = 0
    spad_s0: U32 = 0
    spad_s1: U32 = 0
    spad_s2: U32 = 0

    def sizes(self) -> tuple[Any, Any, Any, Any]:
        return self.d0, self.d1, self.d2, self.d3

    def dram_strides(self) -> tuple[Any, Any, Any, Any]:
        return self.dram_s0, self.dram_s1, self.dram_s2, self.dram_s3

    def spad_strides(self) -> tuple[Any, Any, Any, Any]:
        return self.spad_s0, self.spad_s1, self.spad_s2, 1

    def reads(self) -> Iterator[Region]:
        yield region(self.spad, self.sizes(), self.spad_strides(), dtype_size(self.spad_dtype))

    def writes(self) -> Iterator[Region]:
        element = dtype_size(self.dram_dtype)
        yield Block.at(DRAM, self.dram, self.sizes(), self.dram_strides(), element)

    def faults(self) -> Iterator[tuple[Any, str]]:
        yield too_many(*self.sizes()), "the block is too large"
        yield collides(self.sizes(), self.dram_strides()), "elements in DRAM coincide"
        mixed = IS_FLOAT[self.dram_dtype] != IS_FLOAT[self.spad_dtype]
        yield mixed, "dram_dtype and spad_dtype are not both integer or both float"

    def execute(self, machine: Machine) -> None:
        memory, offset = split_address(self.spad)
        source = machine.view(memory, offset, self.sizes(), self.spad_strides(), self.spad_dtype)
        target = machine.view(DRAM, self.dram, self.sizes(), self.dram_strides(), self.dram_dtype)
        target[...] = saturate(source, DTYPES[self.dram_dtype])
