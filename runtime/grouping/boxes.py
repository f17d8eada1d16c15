"""Whether tiles make up a whole box, and where one block holds all that they touch."""

import numpy as np
from msgspec import Struct

from dnncc.isa.distinct import distinct

from .operands import Ints, Operand, require


class Box(Struct, frozen=True, eq=False):
    """Tiles of one box: the first index of each int64[n, dims]; the box's sizes, its place. Along
    dimensions in `shared` some results are made twice, of the same operands."""

    first: Ints
    sizes: tuple[int, ...]
    block: "Block"
    shared: tuple[int, ...] = ()


class Block(Struct, frozen=True):
    """One strided block: first byte of a memory, strides in elements of type `code`."""

    memory: int
    start: int
    strides: tuple[int, ...]
    code: int

    @property
    def address(self) -> int:
        """As instructions name it; DRAM's own bytes are below all other memories'."""
        return self.memory << 28 | self.start


def box(tiles: Operand) -> Box:
    """The box that results make up. Raises Ungrouped if they overlap or leave a gap."""
    require(tiles.memory == tiles.memory[0], "results in several memories")
    require(tiles.code == tiles.code[0], "results of several types")
    strides = common_strides(tiles)
    base = int(tiles.start.min())
    rest = (tiles.start - base) // tiles.element
    first = np.zeros_like(tiles.sizes)
    single = (tiles.sizes == 1).all(axis=0)
    for d in np.lexsort((single, -strides)):
        if strides[d] > 0:
            first[:, d], rest = np.divmod(rest, strides[d])
    sizes = partition(first, tiles.sizes)
    block = affine(tiles, first)
    return Box(first, sizes, block)


def with_channels(whole: Box) -> Box:
    """Of results [n, g, k, p, q] the box [n, g * k, p, q]; its block still has all five axes."""
    n, g, k, p, q = whole.sizes
    channel = whole.first[:, 1] * k + whole.first[:, 2]
    first = np.column_stack((whole.first[:, 0], channel, whole.first[:, 3:]))
    return Box(first, (n, g * k, p, q), whole.block)


def common_strides(tiles: Operand) -> Ints:
    """Those of tiles with more than one index along a dimension, else whatever they hold there."""
    strides = np.zeros(tiles.sizes.shape[1], np.int64)
    for d in range(len(strides)):
        told = tiles.sizes[:, d] > 1
        strides[d] = tiles.strides[np.argmax(told), d]
        require(~told | (tiles.strides[:, d] == strides[d]), "tiles of several strides")
    return strides


PLANE = (2, 3)
"""Rows and columns of results [n, k, p, q]."""


def partition(first: Ints, sizes: Ints, shared: tuple[int, ...] = ()) -> tuple[int, ...]:
    """The sizes of the box of which all tiles are the cells of a grid; along dimensions in `shared`
    they may reach into the next one."""
    total, number, cells = [], np.zeros(len(first), np.int64), 1
    for d in range(first.shape[1]):
        starts, at = np.unique(first[:, d], return_inverse=True)
        widths = np.zeros(len(starts), np.int64)
        widths[at] = sizes[:, d]
        require(widths[at] == sizes[:, d], "tiles of several sizes in a row")
        ends = np.cumsum(widths)
        if d in shared:
            ends = np.maximum.accumulate(starts + widths)
            met = starts <= np.concatenate(([0], ends[:-1]))
        else:
            met = starts == ends - widths
        require(met, "tiles with gaps between them")
        total.append(int(ends[-1]))
        number, cells = number * len(starts) + at, cells * len(starts)
    require(len(first) == cells == len(distinct(number)), "cells that are missing or twice there")
    return tuple(total)


def affine(blocks: Operand, first: Ints) -> Block:
    """The block in which each row's begins at index `first`. Raises Ungrouped if there is none."""
    require(blocks.memory == blocks.memory[0], "operands in several memories")
    require(blocks.code == blocks.code[0], "operands of several types")
    origin = np.flatnonzero(~first.any(axis=1))
    require(len(origin) > 0, "no operand at the origin")
    base = int(blocks.start[origin[0]])
    offset = (blocks.start - base) // blocks.element
    strides = [stride_along(blocks, first, offset, d) for d in range(first.shape[1])]
    require(offset * blocks.element == blocks.start - base, "operands between elements")
    require((first * strides).sum(axis=1) == offset, "operands that do not follow their tiles")
    return Block(int(blocks.memory[0]), base, tuple(strides), int(blocks.code[0]))


def stride_along(blocks: Operand, first: Ints, offset: Ints, d: int) -> int:
    """From a block of several indices along it, else from blocks that differ there alone."""
    told = blocks.sizes[:, d] > 1
    if told.any():
        stride = int(blocks.strides[np.argmax(told), d])
        require(~told | (blocks.strides[:, d] == stride), "operands of several strides")
        return stride
    others = np.delete(first, d, axis=1).any(axis=1)
    rows = np.flatnonzero(~others & (first[:, d] > 0))
    return int(offset[rows[0]] // first[rows[0], d]) if len(rows) else 0
