"""What must be retired before an instruction begins: whatever wrote what it reads, or touched what
it writes.

Accesses are looked at by the band that they touch (bands.py): those of a memory, and of these some
of the bands at a time.
"""

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import numpy.typing as npt
from msgspec import Struct

from dnncc.isa import core, program
from dnncc.isa.distinct import distinct

from .bands import Bands, bands_of, handed_over, running
from .units import Units

Ints = npt.NDArray[np.int64]
Counts = npt.NDArray[np.int32]
Bools = npt.NDArray[np.bool_]
ENGINES = len(core.ENGINES)

TOGETHER = 1 << 13
"""Accesses, about: what is known of them stays in the cache."""


class Place(Struct, frozen=True):
    """Of each instruction: its engine, its number on it from 1, and how many were `issued` to each
    engine before it, int32[n, engines]."""

    engine: Ints
    number: Counts
    issued: Counts

    @classmethod
    def of(cls, decoded: program.Program) -> "Place":
        engine = decoded.engine_of.astype(np.int64)
        number, issued = np.zeros(len(engine), np.int32), np.empty((len(engine), ENGINES), np.int32)
        for e in range(ENGINES):
            own = engine == e
            through = np.cumsum(own, dtype=np.int32)
            number[own] = through[own]
            issued[:, e] = through - own
        return cls(engine, number, issued)


def hazards(regions: program.Regions, units: Units, nest_of: Ints, place: Place) -> Counts:
    """int32[n, engines]: how many of each other engine's instructions must be retired first."""
    count = len(place.engine)
    waits = np.zeros((ENGINES, count), np.int32)
    for memory in distinct(units.memory):
        inside = regions.at(np.flatnonzero(regions.memory == memory))
        bands, touches = touched(inside, units, nest_of[inside.instruction], place)
        handed = handed_over(touches.last(len(bands.unit)), bands, units)
        for part in touches.parted():
            for engine, need in zip(touches.engines, part.needs(handed), strict=True):
                np.maximum.at(waits[engine], part.instruction, need)
    waits[place.engine, np.arange(count)] = 0
    return np.ascontiguousarray(waits.T)


def touched(
    regions: program.Regions, units: Units, nest: Ints, place: Place
) -> tuple[Bands, "Touches"]:
    """The bands of accesses that each belong to a nest, and how they are touched."""
    unit = units.find(nest, regions.memory, regions.start)
    known = np.flatnonzero(unit >= 0)
    unit, some = unit[known], regions.at(known)
    bands = bands_of(units, unit, some.start, some.stop, some.is_write)
    access, band = bands.touched(unit, some.start, some.stop)
    order = np.argsort(band, kind="stable")  # accesses are in the order of the program
    access, mine = access[order], place.engine[some.instruction]
    engines = distinct(mine)
    return bands, Touches(
        engines,
        band[order],
        some.instruction[access],
        np.searchsorted(engines, mine)[access],
        place.number[some.instruction][access],
        some.is_write[access],
    )


class Touches(Struct, frozen=True):
    """Columns, one row per access and band, by band, in the order of the program: the instruction,
    which of the `engines` it is on and its number there, and whether it writes."""

    engines: Ints
    band: Ints
    instruction: Ints
    engine: Ints
    number: Counts
    write: Bools

    def last(self, bands: int) -> Counts:
        """int32[engines, bands]: the number of the last instruction that touches a band."""
        found = np.zeros((len(self.engines), bands), np.int32)
        found[self.engine, self.band] = self.number  # of one band the last assignment stays
        return found

    def parted(self) -> "Iterator[Touches]":
        """Whole bands, of TOGETHER rows or more."""
        begins = np.flatnonzero(np.diff(self.band, prepend=-1))
        first = np.searchsorted(begins, np.arange(0, len(self.band), TOGETHER))
        cuts = distinct(np.append(begins[first[first < len(begins)]], len(self.band)))
        for rows in (slice(*ends) for ends in pairwise(cuts.tolist())):
            yield Touches(
                self.engines,
                self.band[rows],
                self.instruction[rows],
                self.engine[rows],
                self.number[rows],
                self.write[rows],
            )

    def needs(self, handed: Counts) -> Counts:
        """int32[engines, rows]: what must be retired of each engine, where of each engine and band
        so many must that had its bytes before: int32[engines, bands]."""
        rows = np.arange(len(self.band))
        number = np.zeros((len(self.engines), len(rows)), np.int32)
        number[self.engine, rows] = self.number
        touched, written = running(number, self.band), running(number * self.write, self.band)
        return np.where(self.write, np.maximum(touched, handed[:, self.band]), written)
