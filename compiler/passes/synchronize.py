"""After it, every instruction waits for those on other engines that it must follow.

That is what wrote the bytes it reads, and what read or wrote the bytes it writes. Waits that others
imply are left out.
"""

import numpy as np
import numpy.typing as npt
from msgspec.structs import replace

from dnncc.isa import core, program

from ..codegen.stream import Piece, Stream
from ..memory.hazards import Place, hazards
from ..memory.units import units_of
from ..memory.waits import reduced
from .context import Context, target_of

Counts = npt.NDArray[np.int32]
ENGINES = len(core.ENGINES)


def synchronize(stream: Stream, ctx: Context) -> Stream:
    decoded = stream.decoded
    place = Place.of(decoded)
    units = units_of(stream, target_of(ctx))
    waits = hazards(decoded.regions, units, stream.nest_of, place)
    waits = np.where(place.engine[:, None] == core.CONTROL, place.issued, waits)
    return settled(stream, place, reduced(waits, place.engine, place.issued))


def settled(stream: Stream, place: Place, needed: Counts) -> Stream:
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


def with_waits(piece: Piece, distance: Counts) -> Piece:
    records = piece.records.copy()
    for engine, name in enumerate(program.WAIT_NAMES):
        records[name] = distance[piece.order, engine]
    return replace(piece, records=records)
