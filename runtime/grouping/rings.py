"""Ifmaps whose rows lie in rings: each row is followed by itself to the load that brought it, and
where they came from they are one block again."""

from typing import Any

import numpy as np

from .operands import Ints, Operand, column, require

ROWS = 3
"""The dimension of an ifmap, [n, g, c, h, w], that a ring is of."""


def in_rings(item: Any) -> bool:
    """Whether instructions of the array read rings, which is the same for all of a step."""
    return bool(np.any(getattr(item, "ring", 0)))


def rows_of(item: Any, ifmap: Operand) -> tuple[Operand, Ints]:
    """Every row of every tile as a block, and the number of its tile."""
    count = len(ifmap)
    ring, first = (column(v, count) for v in (item.ring, item.ring_row))
    held = ifmap.sizes[:, ROWS]
    tile = np.repeat(np.arange(count), held)
    place = (first[tile] + index_of(tile, held)) % ring[tile]
    one = ifmap.take(tile)
    sizes = one.sizes.copy()
    sizes[:, ROWS] = 1
    start = one.start + place * one.strides[:, ROWS] * one.element
    return Operand(one.memory, start, sizes, one.strides, one.code), tile


def index_of(tile: Ints, held: Ints) -> Ints:
    """The place of each row in its tile."""
    return np.asarray(np.arange(len(tile)) - np.repeat(np.cumsum(held) - held, held))


def together(rows: Operand, ifmap: Operand, tile: Ints) -> Operand:
    """The blocks that the rows of each tile are. Raises Ungrouped if they are none."""
    held = ifmap.sizes[:, ROWS]
    index, begin = index_of(tile, held), np.cumsum(held) - held
    first = rows.take(begin)
    second = rows.start[np.minimum(begin + 1, len(rows) - 1)]
    step = np.where(held > 1, second - first.start, 0)
    require(rows.start == first.start[tile] + index * step[tile], "rows that are far apart")
    for name in ("memory", "code"):
        require(getattr(rows, name) == getattr(first, name)[tile], "rows of several kinds")
    alike = (rows.strides == first.strides[tile]) | (rows.sizes == 1)
    require(np.delete(alike, ROWS, axis=1), "rows of several forms")
    strides = first.strides.copy()
    strides[:, ROWS], rest = np.divmod(step, first.element)
    require(rest == 0, "rows between elements")
    return Operand(first.memory, first.start, ifmap.sizes, strides, first.code)
