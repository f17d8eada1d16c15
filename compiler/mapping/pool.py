"""The candidates of a search: some tiles under each choice, and as rows the few of these that may
be the best."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from msgspec import Struct
from msgspec.structs import replace

from .beside import Beside, beside, common
from .buffers import footprint, queue, rooms, within
from .cost import Problem
from .moves import transfers
from .space import Bools, Choice, Mesh, Ways, alike

Ints = npt.NDArray[np.int64]
Steps = dict[str, Ints]

CYCLE_SLACK = 1.02
"""How much slower a candidate may be than the fastest, to be taken for its fewer bytes."""

UNEVEN = 1.15
"""How much slower candidates seem that may be the fastest, as all of their tiles are priced at full
size before the last."""

UNKNOWN = np.iinfo(np.int64).max


class Fitting(Struct, frozen=True):
    """What fits under which choice, bool[choices, tiles], and columns that broadcast to it."""

    fits: Bools
    beside: Beside

    @property
    def some(self) -> Bools:
        """Tiles that fit under a choice."""
        return np.asarray(self.fits.any(axis=0))

    def cycles(self, array: Ints) -> Ints:
        """With the array's cycles int64[tiles, 2]; UNKNOWN of what does not fit."""
        return np.where(self.fits, self.beside.with_array(*array.T), UNKNOWN)


class Pool(Struct, frozen=True):
    """Candidates under several choices, which fit: columns of one length. `tile` is a row of the
    tilings `steps`; `array` has a row for each of these: `array_cycles`, or a bound."""

    choice: Ints
    tile: Ints
    array: Ints
    beside: Beside
    steps: Steps

    @property
    def cycles(self) -> Ints:
        return self.beside.with_array(*self.array[self.tile].T)


def fitting(problem: Problem, options: Sequence[Choice], steps: Mesh) -> Fitting:
    """Which of these tilings fit, and what they take beside the array, by choice.

    What depends on the loops only is computed once for choices that differ in slots.
    """
    shape = len(options), len(next(iter(steps.values())))
    fits, each = np.zeros(shape, np.bool_), transfers(problem, options, steps)
    every, found = alike(options), list[Beside]()
    for ways in every:
        room = rooms(problem, ways, steps)
        used = footprint(problem, ways, steps, room)
        fits[ways.numbers] = within(problem, used, 1) & rolls(problem, ways, steps)
        shared = common(problem, ways, steps, each)
        shares, stored = within(problem, used, 2), queue(problem, ways, steps, used, room)
        found.append(beside(problem, ways, steps, shares, shared, room, stored))
    columns = (joined(every, parts, shape) for parts in zip(*found, strict=True))
    return Fitting(fits, Beside(*columns))


def joined(every: Sequence[Ways], parts: Sequence[Ints], shape: tuple[int, int]) -> Ints:
    """One array of what belongs to each of the ways."""
    whole = np.empty((*parts[0].shape[:-2], *shape), np.int64)
    for ways, part in zip(every, parts, strict=True):
        whole[..., ways.numbers, :] = part
    return whole


def rolls(problem: Problem, ways: Ways, steps: Steps) -> Bools:
    """Where an ifmap is kept in a ring of rows, the tilings that allow for one."""
    if ways.ring is None:
        return np.ones((), np.bool_)
    slots = ways.room(ways.ring.access.role)
    return ways.ring.legal(problem.load, steps, ways.order, slots)


def pooled(found: Fitting, where: Bools, array: Ints, steps: Steps) -> Pool:
    """As rows, some of those that fit."""
    choice, tile = np.nonzero(found.fits & where)
    return Pool(choice, tile, array, found.beside.at(choice, tile), steps)


def taken(pool: Pool, rows: Bools) -> Pool:
    """Some of its candidates."""
    more = Beside(*(column[..., rows] for column in pool.beside))
    return replace(pool, choice=pool.choice[rows], tile=pool.tile[rows], beside=more)


def near(pool: Pool, known: Bools, slack: float) -> Pool:
    """Without the tiles that no choice brings near the fastest that is known: bounds only rise, and
    the fastest only gets faster."""
    cycles = pool.cycles
    best = cycles[known[pool.tile]].min(initial=UNKNOWN)
    kept = np.zeros(len(pool.array), np.bool_)
    kept[pool.tile[cycles <= slack * best]] = True
    return taken(pool, kept[pool.tile] & (cycles <= UNEVEN * best))


def fastest(pool: Pool) -> Ints:
    """Of each tile the fewest cycles under the choices that are left, or UNKNOWN."""
    least = np.full(len(pool.array), UNKNOWN)
    np.minimum.at(least, pool.tile, pool.cycles)
    return least
