"""Units in bands: what one tile of a stored tensor hands on, so that the next layer's first tiles
need not wait for this layer's last.

A band begins where some write begins, or where its unit does. Accesses are ranges of bytes, so a
tile is exact where tensors are stored with the dimension outermost that is tiled.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from .units import MEMORY_SHIFT, Units

Ints = npt.NDArray[np.int64]

MOST = 64
"""Bands of a unit; where writes begin at more places, bands hold several of them."""


class Touches(NamedTuple):
    """Columns: which access touches which band. One access may touch several."""

    access: Ints
    band: Ints


class Bands(NamedTuple):
    """Columns, int64[bands], sorted: the unit, and bytes [start, stop) of its memory."""

    unit: Ints
    start: Ints
    stop: Ints

    def touched(self, unit: Ints, start: Ints, stop: Ints) -> Touches:
        """The bands of accesses to bytes [start, stop) of units, as they are numbered here."""
        keys = (self.unit << MEMORY_SHIFT) + self.start
        low = np.searchsorted(keys, (unit << MEMORY_SHIFT) + start, "right") - 1
        high = np.searchsorted(keys, (unit << MEMORY_SHIFT) + stop - 1, "right")
        return Touches(*spread(low, high))


def spread(low: Ints, high: Ints) -> tuple[Ints, Ints]:
    """(row, number) for every number in [low, high) of every row."""
    count = high - low
    row = np.repeat(np.arange(len(low)), count)
    return row, np.arange(len(row)) - np.repeat(np.cumsum(count) - count, count) + low[row]


def bands_of(units: Units, unit: Ints, start: Ints) -> Bands:
    """The bands of all units, for writes that begin at `start` of `unit`."""
    every = np.arange(len(units.start))
    cuts = np.concatenate(((unit << MEMORY_SHIFT) + start, (every << MEMORY_SHIFT) + units.start))
    cuts = np.unique(cuts)
    owner, place = cuts >> MEMORY_SHIFT, cuts & ((1 << MEMORY_SHIFT) - 1)
    first = np.searchsorted(owner, every)
    rank = np.arange(len(cuts)) - first[owner]
    share = -(-np.bincount(owner, minlength=len(every)) // MOST)
    kept = np.flatnonzero(rank % share[owner] == 0)
    owner, place = owner[kept], place[kept]
    last = np.append(owner[1:] != owner[:-1], True)
    stop = np.where(last, units.stop[owner], np.append(place[1:], 0))
    return Bands(owner, place, stop)


def handed_over(values: Ints, bands: Bands, units: Units) -> Ints:
    """Per band the largest value, int64[bands], of those that had any of its bytes in earlier
    nests."""
    memory = units.memory[bands.unit] << MEMORY_SHIFT
    low, high = memory + bands.start, memory + bands.stop
    edges = np.unique(np.concatenate((low, high)))
    band, segment = spread(np.searchsorted(edges, low), np.searchsorted(edges, high))
    order = np.lexsort((units.first[bands.unit[band]], segment))
    band, segment = band[order], segment[order]
    before = running(values[band], segment)
    handed = np.zeros(len(values), np.int64)
    np.maximum.at(handed, band, before)
    return handed


def running(values: Ints, group: Ints) -> Ints:
    """For each entry the largest value before it in its group; groups are contiguous."""
    shift = np.int64(1) << 40
    raised = np.maximum.accumulate(values + group * shift)
    previous = np.concatenate(([0], raised[:-1]))
    out: Ints = np.maximum(previous - group * shift, 0)
    return out
