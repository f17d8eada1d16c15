"""The PE array: one tile of convolution, depthwise convolution or matrix product."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from .blocks import Block, region, region_if, ring_faults, ring_parts, shared, view
from .core import (
    I16,
    U8,
    U16,
    U32,
    Address,
    Array,
    Flag,
    Instruction,
    Machine,
    Operand,
    OptionalAddress,
    Region,
    Size8,
    Size16,
    dtype_code,
    dtype_size,
    split_address,
    too_many,
)
from .numerics import convolve, reach

PSUM = dtype_code(np.dtype("<i4"))
ZEROS = dtype_code(np.dtype("<i2"))

MOST_MACS = float(1 << 40)
FITS_INT16 = 1 << 14
"""Zero points up to this, taken from a byte, leave a difference that int16 holds."""


class Tensor(Instruction, opcode=0x20, engine="tensor"):
    """psum[n,g,k,p,q] (+)= sum over c,r,s of (ifmap - ifmap_zero) * (weight - weight_zero).

    The ifmap tile holds h x w valid rows and columns of n x (g * c) channels; output p, tap r reads
    row p * stride_y + r * dilation_y - pad_top, and rows or columns outside the tile count as
    ifmap_zero, which is how padding is done. k and c are per group. A matrix product M x C by
    C x K is p = 1, q = M, r = s = 1. Strides are in elements; the taps r, s of a weight are dense,
    and so is the int32 psum tile [n][g][k][p][q], whose sums wrap. With `zeros` not 0, it is the
    address of an int16 weight zero point per output channel [g][k], which weight_zero is added to.
    With `ring` not 0, the ifmap's rows are kept in a ring of so many, which begins at `ifmap`: row
    i of the tile is the ring's row (ring_row + i) mod ring, so that rows which a tile shares with
    the one before stay where they are.
    map0..map5 are the array parameters of the target's dataflow: they set the time, not the values.
    """

    moving = ("ifmap", "weight", "psum", "ring_row")

    ifmap: Address
    weight: Address
    psum: Address
    zeros: OptionalAddress = 0
    n: Size8 = 1
    r: Size8 = 1
    s: Size8 = 1
    accumulate: Flag = 0
    g: Size16 = 1
    k: Size16 = 1
    c: Size16 = 1
    p: Size16 = 1
    q: Size16 = 1
    h: Size16 = 1
    w: Size16 = 1
    ifmap_dtype: Operand = 0
    weight_dtype: Operand = 0
    ifmap_sn: U32 = 0
    ifmap_sc: U32 = 0
    ifmap_sh: U32 = 0
    ifmap_sw: U16 = 1
    weight_sg: U32 = 0
    weight_sk: U32 = 0
    weight_sc: U32 = 0
    stride_y: Size8 = 1
    stride_x: Size8 = 1
    dilation_y: Size8 = 1
    dilation_x: Size8 = 1
    pad_top: U8 = 0
    pad_left: U8 = 0
    ifmap_zero: I16 = 0
    weight_zero: I16 = 0
    map0: U8 = 0
    map1: U8 = 0
    map2: U8 = 0
    map3: U8 = 0
    map4: U8 = 0
    map5: U8 = 0
    ring: U8 = 0
    ring_row: U8 = 0

    def ifmap_layout(self) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
        """Sizes and strides of [n, g, c, h, w]."""
        group = self.c * self.ifmap_sc
        strides = (self.ifmap_sn, group, self.ifmap_sc, self.ifmap_sh, self.ifmap_sw)
        return (self.n, self.g, self.c, self.h, self.w), strides

    def ifmap_parts(self) -> tuple[tuple[Any, Any], ...]:
        """(first byte behind `ifmap`, rows) of those up to the ring's end, and of those from its
        beginning on: none without a ring."""
        row = self.ifmap_sh * dtype_size(self.ifmap_dtype)
        return ring_parts(self.h, self.ring, self.ring_row, row)

    def weight_layout(self) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
        """Sizes and strides of [g, k, c, r, s]."""
        strides = (self.weight_sg, self.weight_sk, self.weight_sc, self.s, 1)
        return (self.g, self.k, self.c, self.r, self.s), strides

    def psum_layout(self) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
        """Sizes and strides of the dense [n, g, k, p, q]."""
        sizes = (self.n, self.g, self.k, self.p, self.q)
        plane = self.p * self.q
        return sizes, (self.g * self.k * plane, self.k * plane, plane, self.q, 1)

    def reads(self) -> Iterator[Region]:
        yield from self.ifmap_regions()
        yield region(self.weight, *self.weight_layout(), dtype_size(self.weight_dtype))
        yield region_if(self.accumulate, self.psum, self.psum_bytes())
        yield region_if(self.zeros, self.zeros, self.g * self.k * 2)

    def ifmap_regions(self) -> Iterator[Region]:
        (n, g, c, _, w), strides = self.ifmap_layout()
        memory, start = split_address(self.ifmap)
        for skipped, rows in self.ifmap_parts():
            sizes, element = (n, g, c, rows, w), dtype_size(self.ifmap_dtype)
            yield Block.at(memory, start + skipped, sizes, strides, element)

    def writes(self) -> Iterator[Region]:
        yield region_if(True, self.psum, self.psum_bytes())

    def psum_bytes(self) -> Any:
        return self.n * self.g * self.k * self.p * self.q * 4

    def faults(self) -> Iterator[tuple[Any, str]]:
        yield too_many(*self.psum_layout()[0]), "the psum tile is too large"
        yield too_many(*self.ifmap_layout()[0]), "the ifmap tile is too large"
        yield too_many(self.g, self.c, self.ifmap_sc), "the ifmap's channels are too far apart"
        height = reach(self.p, self.stride_y, self.r, self.dilation_y)
        width = reach(self.q, self.stride_x, self.s, self.dilation_x)
        yield too_many(self.n, self.g, self.c, height, width), "the padded ifmap is too large"
        sums = 1.0 * self.n * self.g * self.k * self.c
        macs = sums * self.p * self.q * self.r * self.s
        yield macs > MOST_MACS, "there are more than 2^40 multiplications"
        yield from ring_faults(self.h, self.ring, self.ring_row)

    def execute(self, machine: Machine) -> None:
        x = self.ifmaps(machine)
        psum = view(machine, self.psum, *self.psum_layout(), PSUM)
        sums = convolve(
            subtract(x, self.ifmap_zero),
            self.weights(machine)[:, None],
            (self.p, self.q),
            (self.stride_y, self.stride_x),
            (self.dilation_y, self.dilation_x),
            (self.pad_top, self.pad_left),
        )
        if self.accumulate:
            psum += sums
        else:
            psum[...] = sums

    def ifmaps(self, machine: Machine) -> Array:
        """[batch, n, g, c, h, w], the rows of a ring in order."""
        (n, g, c, _, w), strides = self.ifmap_layout()
        parts = [
            view(machine, self.ifmap + skipped, (n, g, c, int(rows), w), strides, self.ifmap_dtype)
            for skipped, rows in self.ifmap_parts()
            if rows
        ]
        return np.concatenate([shared(p) for p in parts], -2) if parts[1:] else shared(parts[0])

    def weights(self, machine: Machine) -> Array:
        """[batch, g, k, c, r, s], zero points subtracted."""
        w = shared(view(machine, self.weight, *self.weight_layout(), self.weight_dtype))
        w = subtract(w, self.weight_zero)
        if not self.zeros:
            return w
        zeros = shared(view(machine, self.zeros, (self.g, self.k), (self.k, 1), ZEROS))
        difference: Array = w - zeros[..., None, None, None].astype(np.int32)
        return difference


def subtract(values: Array, zero: int) -> Array:
    """values - zero, without wrapping; int16 holds the difference of bytes."""
    if zero == 0:
        return values
    narrow = values.dtype.itemsize == 1 and abs(zero) <= FITS_INT16
    difference: Array = values.astype(np.int16 if narrow else np.int32) - zero
    return difference
