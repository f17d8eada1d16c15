"""Units in bands: what one tile of a stored tensor hands on, so that the next layer's first tiles
need not wait for this layer's last.

A band ends where some access of its unit begins or ends; where these are too many, it begins where
some write does. Accesses are ranges of bytes, so a tile is exact where tensors are stored with the
dimension outermost that is tiled.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from msgspec import Struct

from dnncc.isa.distinct import distinct

from .units import MEMORY_SHIFT, Units

Ints = npt.NDArray[np.int64]
Counts = npt.NDArray[np.int32]
Bools = npt.NDArray[np.bool_]

MOST = 64
"""Bands of a unit."""


class Touches(NamedTuple):
    """Columns: which access touches which band. One access may touch several."""

    access: Ints
    band: Ints


class Bands(Struct, frozen=True):
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


def bands_of(units: Units, unit: Ints, start: Ints, stop: Ints, write: Bools) -> Bands:
    """The bands of all units, for accesses to bytes [start, stop) of `unit`."""
    cuts = edges(units, np.append(unit, unit), np.append(start, stop))
    many = np.bincount(cuts >> MEMORY_SHIFT, minlength=len(units.start)) > MOST
    cuts = cuts[~many[cuts >> MEMORY_SHIFT]]
    thinned = write & many[unit]
    cuts = distinct(np.append(cuts, begins(units, unit[thinned], start[thinned], many)))
    owner, place = cuts >> MEMORY_SHIFT, cuts & ((1 << MEMORY_SHIFT) - 1)
    last = np.append(owner[1:] != owner[:-1], True)
    return Bands(owner, place, np.where(last, units.stop[owner], np.append(place[1:], 0)))


def edges(units: Units, unit: Ints, place: Ints) -> Ints:
    """Sorted, once each, with the unit's own first byte: (unit << MEMORY_SHIFT) + place."""
    inside = place < units.stop[unit]
    every = np.arange(len(units.start))
    own = (every << MEMORY_SHIFT) + units.start
    return distinct(np.append((unit[inside] << MEMORY_SHIFT) + place[inside], own))


def begins(units: Units, unit: Ints, start: Ints, many: Bools) -> Ints:
    """Of the units that are cut at too many places, those where writes begin, or some of them."""
    cuts = edges(units, unit, start)
    cuts = cuts[many[cuts >> MEMORY_SHIFT]]
    owner = cuts >> MEMORY_SHIFT
    rank = np.arange(len(cuts)) - np.searchsorted(owner, owner)
    share = -(-np.bincount(owner, minlength=len(many)) // MOST)
    return np.asarray(cuts[rank % share[owner] == 0])


def handed_over(values: Counts, bands: Bands, units: Units) -> Counts:
    """int32[engines, bands]: the largest of the `values` of those that had any of a band's bytes in
    earlier nests."""
    memory = units.memory[bands.unit] << MEMORY_SHIFT
    low, high = memory + bands.start, memory + bands.stop
    edges = distinct(np.concatenate((low, high)))
    band, segment = spread(np.searchsorted(edges, low), np.searchsorted(edges, high))
    order = np.lexsort((units.first[bands.unit[band]], segment))
    band, segment = band[order], segment[order]
    handed = np.zeros_like(values)
    for mine, before in zip(handed, running(values[:, band], segment), strict=True):
        np.maximum.at(mine, band, before)
    return handed


def running(values: Counts, group: Ints) -> Counts:
    """int32[engines, entries]: for each entry the largest value before it in its group; groups are
    contiguous."""
    raised = group << 32
    largest = np.maximum.accumulate(values + raised, axis=1)
    found = np.zeros_like(values)
    np.maximum(largest[:, :-1] - raised[1:], 0, out=found[:, 1:], casting="unsafe")
    return found
