"""The candidates of a search: all tiles of a mesh under each choice, and as rows the few of them
that may be the best."""

from collections.abc import Sequence
from functools import reduce
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from .beside import Beside, Common, beside, common
from .buffers import Buffers, footprint, queue, rooms, within
from .cost import Problem, transfers
from .space import Bools, Choice

Ints = npt.NDArray[np.int64]
Steps = dict[str, Ints]

CYCLE_SLACK = 1.02
"""How much slower a candidate may be than the fastest, to be taken for its fewer bytes."""

UNEVEN = 1.15
"""How much slower candidates seem that may be the fastest, as all of their tiles are priced at full
size before the last."""

UNKNOWN = np.iinfo(np.int64).max


class Fitting(NamedTuple):
    """What fits under one choice: bool[mesh], and columns that broadcast to it."""

    choice: int
    fits: Bools
    beside: Beside

    def cycles(self, array: Ints) -> Ints:
        """int64[mesh], with the array's cycles int64[2, mesh]; UNKNOWN of what does not fit."""
        return np.where(self.fits, self.beside.with_array(*array), UNKNOWN)


class Pool(NamedTuple):
    """Candidates under several choices, which fit: columns of one length. `tile` is a row of the
    tilings; `array` has a row for each of these: `array_cycles`, or a bound."""

    choice: Ints
    tile: Ints
    array: Ints
    beside: Beside

    @property
    def cycles(self) -> Ints:
        return self.beside.with_array(*self.array[self.tile].T)


def fitting(
    problem: Problem, options: Sequence[Choice], mesh: Steps, legal: Bools
) -> list[Fitting]:
    """Everything legal that fits, by choice.

    What depends on some loops only is computed once for their steps, not for each tiling; and what
    choices have in common once for those that differ in slots only.
    """
    found: list[Fitting] = []
    each = transfers(problem, options, mesh)
    shared: dict[tuple[tuple[str, ...], ...], Common] = {}
    buffers: Buffers = {}
    for number, choice in enumerate(options):
        used = footprint(problem, choice, mesh, buffers)
        able = legal & rolls(problem, choice, mesh)
        fits = np.broadcast_to(able & within(problem, used, 1), legal.shape)
        alike = choice.order, choice.resident
        if alike not in shared:
            shared[alike] = common(problem, choice, mesh, each)
        room = rooms(problem, choice, mesh, buffers)
        stored = queue(problem, choice, mesh, used, buffers)
        wide = beside(problem, choice, mesh, within(problem, used, 2), shared[alike], room, stored)
        found.append(Fitting(number, fits, wide))
    return found


def rolls(problem: Problem, choice: Choice, mesh: Steps) -> Bools:
    """Where an ifmap is kept in a ring of rows, the tilings that allow for one."""
    if choice.ring is None:
        return np.ones((), np.bool_)
    slots = choice.room(choice.ring.access.role)
    return choice.ring.legal(problem.load, mesh, choice.order, slots)


def costs(found: Sequence[Fitting], legal: Bools, array: Ints) -> list[Ints]:
    """Cycles under each choice, int64[mesh], with the array's int64[tiles, 2]."""
    wide = np.zeros((2, *legal.shape), np.int64)
    wide[:, legal] = array.T
    return [one.cycles(wide) for one in found]


def lowest(cycles: Sequence[Ints], legal: Bools) -> Ints:
    """Of each tile the fewest cycles under any choice, or UNKNOWN: int64[tiles]."""
    return np.asarray(reduce(np.minimum, cycles)[legal])


def pooled(
    found: Sequence[Fitting], cycles: Sequence[Ints], legal: Bools, array: Ints, most: float
) -> Pool:
    """As rows, those that take at most so many cycles."""
    number = (np.cumsum(legal) - 1).reshape(legal.shape)
    kept = [np.nonzero(one.fits & (c <= most)) for one, c in zip(found, cycles, strict=True)]
    both = [(one, at) for one, at in zip(found, kept, strict=True) if len(at[0])]
    both = both or [(found[0], kept[0])]
    columns = [one.beside.at(legal.shape, at) for one, at in both]
    joined = Beside(*(np.concatenate(c, axis=-1) for c in zip(*columns, strict=True)))
    choice = np.repeat([one.choice for one, _ in both], [len(at[0]) for _, at in both])
    return Pool(choice, np.concatenate([number[at] for _, at in both]), array, joined)


def taken(pool: Pool, rows: Bools) -> Pool:
    """Some of its candidates."""
    more = Beside(*(column[..., rows] for column in pool.beside))
    return Pool(pool.choice[rows], pool.tile[rows], pool.array, more)


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
