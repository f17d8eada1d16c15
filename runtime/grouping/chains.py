"""Tiles of the array that add up to one: from Tensor and Requantize steps to one convolution."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from dnncc.isa import numerics
from dnncc.isa.distinct import distinct

from .boxes import Block, Box, affine, partition
from .nests import Step, column_of
from .operands import Ints, Operand, require


class Axis(NamedTuple):
    """Where the tiles' valid rows (or columns) begin, int64[n]; how many there are in all, and the
    padding before the first."""

    first: Ints
    valid: int
    pad: int


class Sums(NamedTuple):
    """All that the tiles of a Tensor step add up to: sizes of [n, g, k, c, p, q] and operands."""

    sizes: tuple[int, int, int, int, int, int]
    ifmap: Block
    weight: Block
    zeros: Block | None
    rows: Axis
    columns: Axis


def axis(first: Ints, count: Ints, taps: tuple[int, int, int], pad: Ints, valid: Ints) -> Axis:
    """Of windows, the plane of which each tile holds a part; `taps` are stride, size, dilation.

    A tile says of how many rows before its first one nothing is there; elsewhere, too, only what
    is outside the whole plane may be missing in a tile.
    """
    stride, size, dilation = taps
    start = pad[np.argmin(first)]
    need = first * stride - start
    top = need + pad
    total = int((top + valid).max())
    require((top >= 0) & ((pad == 0) | (top == 0)), "padding inside of the plane")
    enough = need + numerics.reach(count, stride, size, dilation) <= top + valid
    require(enough | (top + valid == total), "rows that a tile does not have")
    return Axis(top, total, int(start))


def windows_of(step: Step, first: Ints) -> tuple[Axis, Axis]:
    """Rows and columns of the input of a Tensor or Pool step, whose results begin at `first`."""
    item, count = step.item, len(step)
    found = []
    for at, (out, valid, pad, s, taps) in enumerate(
        (("p", "h", "pad_top", "y", "r"), ("q", "w", "pad_left", "x", "s"))
    ):
        sizes = [column_of(getattr(item, name), count) for name in (out, pad, valid)]
        window = tuple(step.constant(n) for n in (f"stride_{s}", taps, f"dilation_{s}"))
        found.append(axis(first[:, at], sizes[0], window, *sizes[1:]))
    return found[0], found[1]


Whole = Callable[[Operand, Ints], Block]
"""The block of all of an operand's tiles, of which each begins at some index."""


def add_up(step: Step, results: Step, box: Box, whole: Whole = affine) -> Sums:
    """What the tiles of `step` compute together; `results` finishes them into a box's cells."""
    owner, depth = chains(step, results)
    n, channel, p, q = box.first[owner].T
    c = column_of(step.item.c, len(step))
    sizes = np.stack([results_of(results, owner, name) for name in ("n", "k", "p", "q")], axis=1)
    cells = np.column_stack((box.first[owner], depth))
    total = partition(cells, np.column_stack((sizes, c)), box.shared)
    rows, columns = windows_of(step, np.stack((p, q), axis=1))
    place = Placed(step, n, channel, depth, rows, columns, whole)
    return merged(place, total)


def results_of(results: Step, owner: Ints, name: str) -> Ints:
    return column_of(getattr(results.item, name), len(results))[owner]


class Placed(NamedTuple):
    """Per tile of a Tensor step its image, its first output and input channel, and its windows."""

    step: Step
    n: Ints
    channel: Ints
    c: Ints
    rows: Axis
    columns: Axis
    whole: Whole

    def operand(self, name: str, *first: Any) -> Block:
        count = len(self.step)
        index = np.stack([column_of(f, count) for f in first], axis=1)
        return self.whole(self.step.operands[name], index)


def merged(tiles: Placed, total: tuple[int, ...]) -> Sums:
    """The whole convolution; its groups are of as many output channels as `per_group` says."""
    n, channels, p, q, c = total
    size = per_group(tiles, channels)
    g, k = np.divmod(tiles.channel, size)
    held = column_of(tiles.step.item.k, len(k))
    whole = (k == 0) & (held == size) & (tiles.c == 0)
    one = (column_of(tiles.step.item.g, len(k)) == 1) & (k + held <= size)
    require((channels % size == 0) & (one | whole), "groups that are cut")
    ifmap = tiles.operand("ifmap", tiles.n, g, tiles.c, tiles.rows.first, tiles.columns.first)
    weight = tiles.operand("weight", g, k, tiles.c, 0, 0)
    zeros = tiles.operand("zeros", g, k) if "zeros" in tiles.step.operands else None
    sizes = (n, channels // size, size, c, p, q)
    return Sums(sizes, ifmap, weight, zeros, tiles.rows, tiles.columns)


def per_group(tiles: Placed, channels: int) -> int:
    """Output channels of a group: tiles of several groups hold all of each; else the ifmap of
    tiles that differ in their channel alone is another one from the second group on."""
    item, count = tiles.step.item, len(tiles.n)
    if np.any(column_of(item.g, count) > 1):
        return int(column_of(item.k, count)[0])
    others = (tiles.n, tiles.c, tiles.rows.first, tiles.columns.first)
    alike = np.flatnonzero(~np.any(others, axis=0))
    order = alike[np.argsort(tiles.channel[alike], kind="stable")]
    start = tiles.step.operands["ifmap"].start[order]
    changed = np.flatnonzero(start != start[:1])
    return int(tiles.channel[order[changed[0]]]) if len(changed) else channels


def chains(step: Step, results: Step) -> tuple[Ints, Ints]:
    """Per tile the row of `results` that it ends in, and its first input channel.

    A chain is of tiles that each add to the sums of the one before, in program order.
    """
    owner, after = np.full((2, len(step)), -1)
    for reading in step.readers:
        target = after if reading.step is step else owner
        require((target[reading.made] < 0) & (owner[reading.made] < 0), "sums that are read twice")
        target[reading.made] = reading.rows
        check_psums(step.operands["psum"].take(reading.made), reading)
    require((owner >= 0) ^ (after >= 0), "sums that nothing reads, or too much")
    adding = int(column_of(step.item.accumulate, len(step)).sum())
    require(adding == int((after >= 0).sum()), "sums of before the nest")
    owner = owner[ends_of(after)]
    require(len(distinct(owner)) == len(results), "results of no sums")
    return owner, offsets(owner, column_of(step.item.c, len(step)))


def check_psums(made: Operand, reading: Any) -> None:
    """Sums are read as they were written: the same first byte, rows and columns, all channels."""
    read = reading.step.operands["psum"].take(reading.rows)
    require(made.start == read.start, "a part of a tile's sums")
    same = (made.sizes[:, -2:] == read.sizes[:, -2:]) & (made.sizes[:, :1] == read.sizes[:, :1])
    require(same, "sums in another shape")
    require(made.sizes.prod(axis=1) == read.sizes.prod(axis=1), "a part of the channels")


def ends_of(after: Ints) -> Ints:
    """The last of each one's chain; `after` is the next, -1 at the end."""
    target = np.where(after >= 0, after, np.arange(len(after)))
    while np.any(target[target] != target):
        target = target[target]
    return target


def offsets(owner: Ints, c: Ints) -> Ints:
    """Channels of the tiles before each one in its chain."""
    order = np.argsort(owner, kind="stable")
    ends = np.cumsum(c[order])
    begin = ends - c[order]
    chain = owner[order]
    starts = np.flatnonzero(np.diff(chain, prepend=-1))
    out = np.empty_like(begin)
    out[order] = begin - np.repeat(begin[starts], np.diff(starts, append=len(chain)))
    return out
