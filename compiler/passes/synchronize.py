"""After it, every instruction waits for those on other engines that it must follow.

That is what wrote the bytes it reads, and what read or wrote the bytes it writes. Waits that others
imply are left out.
"""

import numpy as np
import numpy.typing as npt
from msgspec import Struct
from msgspec.structs import replace

from dnncc.isa import core, program
from dnncc.isa.distinct import distinct

from ..codegen.stream import Piece, Stream
from ..memory.bands import bands_of, handed_over, running
from ..memory.units import Units, units_of
from ..memory.waits import reduced
from .context import Context, target_of

Ints = npt.NDArray[np.int64]
ENGINES = len(core.ENGINES)


def synchronize(stream: Stream, ctx: Context) -> Stream:
    decoded = stream.decoded
    place = Place.of(decoded)
    waits = hazards(decoded, place, units_of(stream, target_of(ctx)), stream.nest_of)
    waits = np.where(place.engine[:, None] == core.CONTROL, place.issued, waits)
    return settled(stream, place, reduced(waits, place.engine, place.issued))


def settled(stream: Stream, place: "Place", needed: Ints) -> Stream:
    """The stream with waits for so many instructions of each engine, 0 for none."""
    distance = np.where(needed > 0, place.issued - needed + 1, core.NO_WAIT)
    return Stream(stream.tile, tuple(with_waits(p, distance) for p in stream.pieces))


def one_by_one(stream: Stream, ctx: Context) -> Stream:
    """In place of `synchronize`: each instruction waits for the one before it."""
    place = Place.of(stream.decoded)
    before = np.concatenate(([core.CONTROL], place.engine[:-1]))
    waits = np.arange(ENGINES) == before[:, None]
    waits &= before[:, None] != place.engine[:, None]
    return settled(stream, place, np.where(waits, place.issued, 0))


def with_waits(piece: Piece, distance: Ints) -> Piece:
    records = piece.records.copy()
    for engine, name in enumerate(program.WAIT_NAMES):
        records[name] = distance[piece.order, engine]
    return replace(piece, records=records)


class Place(Struct, frozen=True):
    """Of each instruction: its engine, its number on it from 1, and how many were `issued` to each
    engine before it, int64[n, engines]."""

    engine: Ints
    number: Ints
    issued: Ints

    @classmethod
    def of(cls, decoded: program.Program) -> "Place":
        engine = decoded.engine_of.astype(np.int64)
        own = engine[:, None] == np.arange(ENGINES)
        through = np.cumsum(own, axis=0)
        number = np.where(engine >= 0, (through * own).sum(axis=1), 0)
        return cls(engine, number, through - own)


def hazards(decoded: program.Program, place: Place, units: Units, nest_of: Ints) -> Ints:
    """int64[n, engines]: how many of each engine's instructions must be retired first."""
    regions = decoded.regions
    unit = units.find(nest_of[regions.instruction], regions.memory, regions.start)
    known = np.flatnonzero(unit >= 0)
    start, stop = regions.start[known], regions.stop[known]
    bands = bands_of(units, unit[known], start, stop, regions.is_write[known])
    access, band = bands.touched(unit[known], start, stop)
    instruction, write = regions.instruction[known[access]], regions.is_write[known[access]]
    order = np.lexsort((instruction, band))
    instruction, band, write = instruction[order], band[order], write[order]
    engine, number = place.engine[instruction], place.number[instruction]
    waits = np.zeros((decoded.count, ENGINES), np.int64)
    for other in distinct(engine[engine >= 0]):
        mine = engine == other
        written = running(np.where(mine & write, number, 0), band)
        touched = running(np.where(mine, number, 0), band)
        last = np.zeros(len(bands.unit), np.int64)
        np.maximum.at(last, band, np.where(mine, number, 0))
        handed = handed_over(last, bands, units)
        need = np.where(write, np.maximum(touched, handed[band]), written)
        np.maximum.at(waits[:, other], instruction, np.where(mine, 0, need))
    return waits
