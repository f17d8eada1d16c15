"""Which ifmap can be kept in a ring of rows, under which tilings, and how large the ring is.

Where a filter is taller than its stride, tiles of rows that follow each other share rows. In a ring
(ir/ring.py) these stay: it has the rows of a tile, and the new ones of those that are loaded ahead.
The loop over rows must be the innermost of those that the ifmap changes in.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from msgspec import Struct

from ..ir.ring import MOST_ROWS
from ..ir.tile import Range
from .workload import Access, Workload

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
Steps = Mapping[str, Any]


class Rolling(Struct, frozen=True):
    """An ifmap whose dimension `axis` moves on by `stride` rows with each index of loop `var`."""

    access: Access
    axis: int
    var: str
    stride: int

    def new_rows(self, steps: Steps) -> Any:
        """Of a tile that is not the first one: those that the one before does not have."""
        return self.stride * steps[self.var]

    def later_rows(self, load: Workload, steps: Steps) -> Any:
        """All rows that are loaded in a sweep over the tiles, but for those of the first one."""
        dim, extent = self.access.box[self.axis], load.dims[self.var]
        every = dim.range({self.var: Range(0, extent, 0, 1)})
        return np.maximum(every.size - dim.largest(steps), 0)

    def rows(self, steps: Steps, slots: Any) -> Any:
        """Of the ring: a tile's, and the new ones of the others that it has slots for."""
        return self.access.box[self.axis].largest(steps) + self.new_rows(steps) * (slots - 1)

    def loads(self, steps: Steps, number: Any, rows: Any) -> Any:
        """How many there are, if so many `rows` are loaded `number` times: two where they go beyond
        the end of a ring, of which most have room for two tiles."""
        return number + (number * (rows - 1) // self.rows(steps, 2))

    def shape(self, steps: Steps, slots: Any) -> tuple[Any, ...]:
        """Of the ring, in elements per dimension."""
        return self.with_rows(steps, self.rows(steps, slots))

    def with_rows(self, steps: Steps, rows: Any) -> tuple[Any, ...]:
        """So many rows of a tile."""
        tile = self.access.tile_shape(steps)
        return (*tile[: self.axis], rows, *tile[self.axis + 1 :])

    def inside(self, order: Iterable[str]) -> list[str]:
        """The loops inside of the one over rows in which the tile is another one."""
        own, names = self.access.variables() - {self.var}, list(order)
        place = names.index(self.var) if self.var in names else len(names)
        return [v for v in names[place:] if v in own]

    def order(self, order: tuple[str, ...], reduction: tuple[str, ...]) -> tuple[str, ...]:
        """With the loop over rows inside of the others that the ifmap changes in, but for sums."""
        moved = [v for v in self.inside(order) if v not in reduction]
        rest = [v for v in order if v not in moved]
        place = rest.index(self.var)
        return (*rest[:place], *moved, *rest[place:])

    def legal(self, load: Workload, steps: Steps, order: Iterable[str], slots: Any) -> Bools:
        """The tilings of which there are several tiles of rows, and these follow each other."""
        several = steps[self.var] < load.dims[self.var]
        able = several & (self.rows(steps, slots) <= MOST_ROWS)
        for var in self.inside(order):
            able = able & (steps[var] == load.dims[var])
        return np.asarray(able)


def rolling(load: Workload) -> Rolling | None:
    """The ifmap of the one step on the array, if that reads it as it is loaded, and tiles that
    follow each other along its rows share some."""
    if [spec.op for spec in load.inner] != ["tensor"]:
        return None
    (spec,) = load.inner
    access, axes = load.used(spec)["ifmap"], spec.attrs["ifmap_axes"]
    shared = sum(access.role == role for s in load.steps() for role, _ in s.uses.values()) > 1
    if "h" not in axes or access not in load.inputs or access.within or access.apart or shared:
        return None
    axis = axes.index("h")
    rows = access.box[axis]
    alone = len(rows.terms) == 1
    var, stride = rows.terms[0] if alone else ("", 0)
    others = (d for i, d in enumerate(access.box) if i != axis)
    if not 0 < stride < rows.extent or any(var in d.variables() for d in others):
        return None
    return Rolling(access, axis, var, stride)


def ring_of(load: Workload, ring: tuple[str, ...], access: Access) -> Rolling | None:
    """Of an operand that is kept in a ring."""
    found = rolling(load) if access.role in ring else None
    return found if found and found.access.role == access.role else None
