"""Choose the mapping of a group: the cheapest that fits, by the simulator's own prices.

All tilings under all loop orders and residencies are bounded first, as if every PE were always
busy. The array's own model, which is dearer, then prices one tiling of each split of the channels,
and, with what that says of how well a split uses the array, the most promising of all. Of those
within a few percent of the fastest the one with the fewest instructions is taken: code is fetched,
too.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from dnncc.targets import dataflow

from .cost import (
    Beside,
    Problem,
    beside,
    footprint,
    macs,
    product_of,
    slots,
    tensor_work,
    within,
)
from .mapping import Mapping
from .space import Choice, choices, tilings, trips

Ints = npt.NDArray[np.int64]
Steps = dict[str, Ints]

BOUND_SLACK = 1.05
CYCLE_SLACK = 1.02
"""How much slower a candidate may be than the fastest, to be taken for its fewer instructions."""


class NoMapping(Exception):
    """Not even the smallest tiles can be taken; the text says why."""


class NoRoom(NoMapping):
    """It is a scratchpad that is too small."""


class Pool(NamedTuple):
    """Candidates under several choices: columns of one length. `array` is the array's cycles over
    all tiles, or a bound of them."""

    choice: Ints
    steps: Steps
    array: Ints
    beside: Beside

    @property
    def cycles(self) -> Ints:
        return np.maximum(self.array, self.beside.overlap) + self.beside.alone

    @property
    def code(self) -> Ints:
        return self.beside.code

    def take(self, rows: Ints) -> "Pool":
        return Pool(
            self.choice[rows],
            {v: s[rows] for v, s in self.steps.items()},
            self.array[rows],
            Beside(*(column[rows] for column in self.beside)),
        )


def search(problem: Problem, limit: int) -> Mapping:
    """The mapping with the fewest estimated cycles, but for the slack. Raises NoMapping.

    The array's model prices a few times `limit` candidates.
    """
    options = list(choices(problem.load, problem.given))
    pool = bounded(problem, options)
    if not len(pool.choice):
        raise hindrance(problem)
    if problem.load.inner:
        pool = refined(problem, pool, limit)
    cycles = pool.cycles
    near = np.flatnonzero(cycles <= CYCLE_SLACK * cycles.min())
    best = near[np.lexsort((cycles[near], pool.code[near]))[0]]
    steps = {v: int(s[best]) for v, s in pool.steps.items()}
    return to_mapping(problem, options[int(pool.choice[best])], steps)


def bounded(problem: Problem, options: list[Choice]) -> Pool:
    """Everything that fits, as if every PE were always busy."""
    steps = tilings(problem.load, problem.given)
    steps = {v: s[runnable(problem, steps)] for v, s in steps.items()}
    count = len(next(iter(steps.values())))
    floor = macs(problem.load) // problem.target.pes
    pools = []
    for number, choice in enumerate(options):
        used = footprint(problem, choice, steps)
        rows = np.flatnonzero(within(problem, used, 1, count))
        kept = {v: s[rows] for v, s in steps.items()}
        shares = within(problem, used, 2, count)[rows]
        more = beside(problem, choice, kept, shares)
        pools.append(Pool(np.full(len(rows), number), kept, np.full(len(rows), floor), more))
    return joined(pools)


def joined(pools: list[Pool]) -> Pool:
    return Pool(
        np.concatenate([p.choice for p in pools]),
        {v: np.concatenate([p.steps[v] for p in pools]) for v in pools[0].steps},
        np.concatenate([p.array for p in pools]),
        Beside(*map(np.concatenate, zip(*(p.beside for p in pools), strict=True))),
    )


def refined(problem: Problem, pool: Pool, limit: int) -> Pool:
    """The most promising, by a bound that knows how well each split of the channels does at its
    largest tile; and those tiles themselves. All are priced by the array's model."""
    split = channel_split(pool.steps)
    largest = np.lexsort((pool.cycles, pool.code))
    _, first = np.unique(split[largest], return_index=True)
    samples = largest[first]
    samples = samples[np.lexsort((pool.code[samples], pool.cycles[samples]))[: 4 * limit]]
    priced = pool._replace(array=pool.array.copy())
    priced.array[samples] = array_cycles(problem, {v: s[samples] for v, s in pool.steps.items()})
    ratio = np.full(int(split.max()) + 1, np.inf)
    ratio[split[samples]] = priced.array[samples] / np.maximum(pool.array[samples], 1)
    known = np.flatnonzero(np.isfinite(ratio[split]))
    guess = (pool.array[known] * ratio[split[known]]).astype(np.int64)
    best = known[promising(pool.take(known)._replace(array=guess), limit)]
    best = np.setdiff1d(best, samples)
    priced.array[best] = array_cycles(problem, {v: s[best] for v, s in pool.steps.items()})
    return priced.take(np.concatenate((samples, best)))


def channel_split(steps: Steps) -> Ints:
    """A number for each combination of tile sizes of groups, output and input channels."""
    split = np.zeros_like(next(iter(steps.values())))
    for var in ("g", "k", "c"):
        sizes, index = np.unique(steps[var], return_inverse=True)
        split = split * len(sizes) + index
    return split


def promising(pool: Pool, limit: int) -> Ints:
    """Rows of the lowest bounds, and of the least code among those near the lowest."""
    cycles = pool.cycles
    fastest = np.lexsort((pool.code, cycles))[:limit]
    near = np.flatnonzero(cycles <= BOUND_SLACK * cycles.min())
    shortest = near[np.lexsort((cycles[near], pool.code[near]))[:limit]]
    return np.unique(np.concatenate((fastest, shortest)))


def array_cycles(problem: Problem, steps: Steps) -> Ints:
    """Cycles of the array over all tiles, were they all of full size."""
    count = trips(problem.load, steps)
    work = tensor_work(problem.load, steps, count)
    if work is None:
        return np.zeros_like(next(iter(steps.values())))
    model = dataflow.model(problem.target)
    params = model.choose(problem.target, work, fixed(problem))
    return np.asarray(model.cycles(problem.target, work, params) * product_of(count, count))


def to_mapping(problem: Problem, choice: Choice, steps: dict[str, int]) -> Mapping:
    one = {v: np.array([s]) for v, s in steps.items()}
    count = trips(problem.load, one)
    room = {a.role: int(slots(problem, a, choice, count).max()) for a in problem.load.accesses()}
    order = tuple(v for v in choice.order if count[v][0] > 1)
    return Mapping(steps, order, choice.resident, room, dict(problem.given.array))


def fixed(problem: Problem) -> Ints:
    return dataflow.fixed(problem.target, problem.given.array)


def runnable(problem: Problem, steps: Steps) -> Ints:
    """The tilings that the array can run with the parameters that are given."""
    count = len(next(iter(steps.values())))
    work = tensor_work(problem.load, steps, trips(problem.load, steps))
    if work is None or not problem.given.array:
        return np.arange(count)
    least = np.maximum(fixed(problem), 1)
    return np.flatnonzero(dataflow.model(problem.target).legal(problem.target, work, least))


def hindrance(problem: Problem) -> NoMapping:
    """Why not even the smallest tiles, of one index where nothing is given, can be taken."""
    for memory, need in smallest(problem).items():
        if need > problem.free[memory]:
            room = problem.free[memory]
            return NoRoom(f"its smallest tile needs {need} bytes of '{memory}', which has {room}")
    steps = smallest_steps(problem)
    work = tensor_work(problem.load, steps, trips(problem.load, steps))
    if work is None or not problem.given.array:
        return NoMapping("no tiling fits the instruction's fields")
    tile = dataflow.Work.from_table(work.table()[0])
    model, least = dataflow.model(problem.target), np.maximum(fixed(problem), 1)
    broken = model.explain(problem.target, tile, least)
    return NoMapping(broken or "no tile fits both memories and array")


def smallest(problem: Problem) -> dict[str, int]:
    """Bytes of each scratchpad that the smallest tiles take, single-buffered."""
    given = problem.given
    order = tuple(problem.load.dims) if given.order is None else given.order
    choice = Choice(order, given.whole or (), given.depth or 1, given.slots)
    used = footprint(problem, choice, smallest_steps(problem))
    return {m: int(np.max(b)) for m, b in used.items()}


def smallest_steps(problem: Problem) -> Steps:
    given, dims = problem.given, problem.load.dims
    return {v: np.array([given.step(v, extent) or 1]) for v, extent in dims.items()}
