"""After it, every instruction waits for those on other engines that it must follow.

That is what wrote the bytes it reads, and what read or wrote the bytes it writes. Waits that others
imply are left out.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice

import numpy as np
import numpy.typing as npt

from dnncc.isa import core, program
from dnncc.isa.distinct import distinct

from ..codegen.stream import Piece, Stream
from ..memory.bands import bands_of, handed_over, running
from ..memory.units import Units, units_of
from .context import Context, target_of

Ints = npt.NDArray[np.int64]
ENGINES = len(core.ENGINES)


def synchronize(stream: Stream, ctx: Context) -> Stream:
    decoded = stream.decoded
    place = Place.of(decoded)
    waits = hazards(decoded, place, units_of(stream, target_of(ctx)), stream.nest_of)
    waits = np.where(place.engine[:, None] == core.CONTROL, place.issued, waits)
    return settled(stream, place, reduced(waits, place))


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
    return piece._replace(records=records)


@dataclass(frozen=True)
class Place:
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


def reduced(needs: Ints, place: Place) -> Ints:
    """Waits that imply all needs, and of which none is implied by others: int64[n, engines].

    `known[e]` is what engine e's next instruction can rely on, known[CONTROL] what all can that
    come after the last control instruction; `clocks` is what each retired instruction could, so
    that waiting for it is knowing as much.
    """
    # What is too far back for the field of a wait is implied by a nearer instruction.
    reach = np.where(needs > 0, np.maximum(needs, place.issued + 1 - core.FARTHEST_WAIT), 0)
    row, of = np.nonzero(needs > 0)
    asked = zip(of.tolist(), needs[row, of].tolist(), reach[row, of].tolist(), strict=True)
    number = np.bincount(row, minlength=len(needs)).tolist()
    known = [[0] * ENGINES for _ in range(ENGINES + 1)]
    clocks: list[list[list[int]]] = [[] for _ in range(ENGINES)]
    rows: list[int] = []
    engines: list[int] = []
    for index, (engine, count) in enumerate(zip(place.engine.tolist(), number, strict=True)):
        before = known[engine]
        mine = before.copy()
        told = {
            e: (need, clocks[e][at - 1]) for e, need, at in islice(asked, count) if need > before[e]
        }
        for other in irredundant(told):
            rows.append(index)
            engines.append(other)
            mine = list(map(max, mine, told[other][1]))
        if engine == core.CONTROL:
            known = [mine] * (ENGINES + 1)
            continue
        mine[engine] += 1
        known[engine] = mine
        clocks[engine].append(mine)
    kept = np.zeros_like(needs)
    kept[rows, engines] = reach[rows, engines]
    return kept


Told = dict[int, tuple[int, list[int]]]
"""By engine: how many of its instructions must be retired, and the clock of the last of them."""


def irredundant(told: Told) -> Iterable[int]:
    """The engines whose clocks are enough to know what all of them were asked for."""
    if len(told) < 2:
        return told
    if len(told) == 2:
        (a, (need_a, clock_a)), (b, (need_b, clock_b)) = told.items()
        return (b,) if clock_b[a] >= need_a else (a,) if clock_a[b] >= need_b else (a, b)
    kept = list(told)
    for other in told:
        rest = [told[e][1] for e in kept if e != other]
        open_ = [(e, need) for e, (need, _) in told.items() if e == other or e not in kept]
        if all_known(open_, rest):
            kept.remove(other)
    return kept


def all_known(needs: list[tuple[int, int]], clocks: list[list[int]]) -> bool:
    """Whether, of each engine, some clock knows as many."""
    for engine, need in needs:
        for clock in clocks:
            if clock[engine] >= need:
                break
        else:
            return False
    return True
