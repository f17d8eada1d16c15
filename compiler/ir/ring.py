"""Rings of rows: buffers that keep the rows which the next tile reads, too (line buffers).

The tiles of such a buffer move on along the loop `Buffer.ring`, and only along it: a load brings
the rows that the tile before did not have, in place of those that no tile reads any more. Row r of
the tensor lies at (sweep * bound + r) mod rows, where `sweep` counts how often the loop has been
gone through: so each sweep goes on behind the one before, and its first tile is loaded whole.

What lanes make, and pool, needs no load: each tile adds rows to those of the tile before. The lanes
do one step after the other, so such a ring begins anew with each sweep; as it has room for what two
full tiles add, none of these goes beyond its end.
"""

from typing import Any

import numpy as np
from msgspec import Struct

from .tile import Box, Buffer, Env, Extent, Operand, Range

MOST_ROWS = 255
"""Of a ring, as the array's instructions count them."""


class Ring(Struct, frozen=True):
    """What a ring of `rows` along dimension `axis` holds of a tensor in an iteration: the tile's
    extents, of its rows those that are `fresh`, and the place `origin`, but for the modulus, of the
    tensor's row 0. Ints, or int64 arrays of every iteration at once."""

    axis: int
    rows: int
    tile: tuple[Extent, ...]
    fresh: Extent
    origin: Any

    @classmethod
    def of(cls, operand: Operand, buffer: Buffer, env: Env) -> "Ring":
        var, axis = buffer.ring, axis_of(operand.box, buffer.ring)
        tile = tuple(d.range(env) for d in operand.box)
        sweep: Any = 0
        for outer in operand.slots[:-1]:
            sweep = sweep * env[outer].trips + env[outer].index
        origin = sweep * operand.box[axis].bound if buffer.kind == "ifmap" else 0
        return cls(axis, buffer.shape[axis], tile, fresh(operand.box, axis, var, env), origin)

    def place(self, row: Any) -> Any:
        """Where in the ring a row of the tensor lies."""
        return (self.origin + row) % self.rows

    def with_rows(self, rows: Extent) -> tuple[Extent, ...]:
        """The tile's extents, but for its rows."""
        return (*self.tile[: self.axis], rows, *self.tile[self.axis + 1 :])

    def parts(self) -> tuple[tuple[Extent, Any], tuple[Extent, Any]]:
        """The fresh rows up to the ring's end, and those from its beginning on; both may be none.
        And the place of the first of them."""
        low, high = self.fresh.low, self.fresh.high
        first = self.place(low)
        cut = low + np.minimum(high - low, self.rows - first)
        return (Extent(low, cut, 0, 0), first), (Extent(cut, high, 0, 0), first * 0)

    def shape(self) -> tuple[Any, ...]:
        """What it holds at once."""
        return tuple(e.size for e in self.with_rows(Extent(0, self.rows, 0, 0)))


def axis_of(box: Box, var: str) -> int:
    """The one dimension of which a loop takes another part in each iteration. Raises ValueError."""
    (axis,) = (i for i, d in enumerate(box) if var in d.variables())
    return axis


def fresh(box: Box, axis: int, var: str, env: Env) -> Extent:
    """The rows that the iteration before did not have; maybe none."""
    now = env[var]
    step = now.low // np.maximum(now.index, 1)
    rows = box[axis].range(env)
    last = Range(now.low - step, now.low, now.index - 1, now.trips)
    before = box[axis].range({**env, var: last})
    begin = np.where(now.index > 0, np.maximum(rows.low, before.high), rows.low)
    return Extent(begin, np.maximum(rows.high, begin), 0, 0)
