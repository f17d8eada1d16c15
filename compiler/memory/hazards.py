"""What must be retired before an instruction begins: whatever wrote what it reads, or touched what
it writes.

Accesses are looked at by the band that they touch (bands.py), some of the bands at a time.
"""

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import numpy.typing as npt
from msgspec import Struct

from dnncc.isa import core, program
from dnncc.isa.distinct import distinct

from .bands import bands_of, handed_over, running
from .units import Units

Ints = npt.NDArray[np.int64]
Counts = npt.NDArray[np.int32]
Bools = npt.NDArray[np.bool_]
ENGINES = len(core.ENGINES)

TOGETHER = 1 << 13
"""Accesses, about: what is known of them at all engines stays in the cache."""


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
    unit = units.find(nest_of[regions.instruction], regions.memory, regions.start)
    known = np.flatnonzero(unit >= 0)
    start, stop = regions.start[known], regions.stop[known]
    bands = bands_of(units, unit[known], start, stop, regions.is_write[known])
    access, band = bands.touched(unit[known], start, stop)
    order = np.argsort(band, kind="stable")  # accesses are in the order of the program
    touches = Touches.of(regions, known[access[order]], band[order], place)
    handed = handed_over(touches.last(len(bands.unit)), bands, units)
    waits = np.zeros((ENGINES, len(place.engine)), np.int64)
    for some in touches.parted():
        for other, need in zip(waits, some.needs(handed), strict=True):
            np.maximum.at(other, some.instruction, need)
    waits[place.engine, np.arange(len(place.engine))] = 0
    return np.ascontiguousarray(waits.T, np.int32)


class Touches(Struct, frozen=True):
    """Columns, one row per access and band, by band, in the order of the program: the instruction,
    its engine and its number there, and whether it writes."""

    band: Ints
    instruction: Ints
    engine: Ints
    number: Ints
    write: Bools

    @classmethod
    def of(cls, regions: program.Regions, access: Ints, band: Ints, place: Place) -> "Touches":
        mine = regions.instruction[access]
        number = place.number[mine].astype(np.int64)
        return cls(band, mine, place.engine[mine], number, regions.is_write[access])

    def last(self, bands: int) -> Ints:
        """int64[engines, bands]: the number of the last instruction that touches a band."""
        found = np.zeros((ENGINES, bands), np.int64)
        found[self.engine, self.band] = self.number  # of one band the last assignment stays
        return found

    def parted(self) -> "Iterator[Touches]":
        """Whole bands, of TOGETHER rows or more."""
        begins = np.flatnonzero(np.diff(self.band, prepend=-1))
        first = np.searchsorted(begins, np.arange(0, len(self.band), TOGETHER))
        cuts = distinct(np.append(begins[first[first < len(begins)]], len(self.band)))
        columns = [getattr(self, name) for name in self.__struct_fields__]
        for begin, end in pairwise(cuts.tolist()):
            yield Touches(*(column[begin:end] for column in columns))

    def needs(self, handed: Ints) -> Ints:
        """int64[engines, rows]: what must be retired of each engine, where of each engine and band
        so many must that had its bytes before: int64[engines, bands]."""
        rows = np.arange(len(self.band))
        number = np.zeros((ENGINES, len(rows)), np.int64)
        number[self.engine, rows] = self.number
        touched, written = running(number, self.band), running(number * self.write, self.band)
        return np.where(self.write, np.maximum(touched, handed[:, self.band]), written)
