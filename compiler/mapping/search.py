"""Choose the mapping of a group: the cheapest that fits, by the simulator's own prices."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from dnncc.targets import dataflow

from .cost import Problem, estimate, fits, footprint, macs, product_of, slots, tensor_work
from .mapping import Mapping
from .space import Choice, choices, tilings, trips

Ints = npt.NDArray[np.int64]

PRICED = 96
"""Candidates per choice that the array's model prices, taken in order of their lower bound."""


class NoMapping(Exception):
    """Not even the smallest tiles fit; the text names the scratchpad and both sizes."""


class Candidate(NamedTuple):
    cycles: int
    moves: int
    choice: Choice
    steps: dict[str, int]


def search(problem: Problem) -> Mapping:
    """The mapping with the fewest estimated cycles, then the fewest moves. Raises NoMapping."""
    steps = tilings(problem.load)
    found = [c for choice in choices(problem.load) if (c := best_of(problem, choice, steps))]
    if not found:
        raise NoMapping(shortage(problem))
    return to_mapping(problem, min(found, key=lambda c: (c.cycles, c.moves)))


def best_of(problem: Problem, choice: Choice, steps: dict[str, Ints]) -> Candidate | None:
    keep = fits(problem, choice, steps)
    if not keep.any():
        return None
    steps = {v: s[keep] for v, s in steps.items()}
    floor = np.full(int(keep.sum()), macs(problem.load) // problem.target.pes)
    bound, moves = estimate(problem, choice, steps, floor)
    first = np.lexsort((moves, bound))[:PRICED]
    steps = {v: s[first] for v, s in steps.items()}
    cycles, moves = estimate(problem, choice, steps, array_cycles(problem, steps))
    best = int(np.lexsort((moves, cycles))[0])
    taken = {v: int(s[best]) for v, s in steps.items()}
    return Candidate(int(cycles[best]), int(moves[best]), choice, taken)


def array_cycles(problem: Problem, steps: dict[str, Ints]) -> Ints:
    """Cycles of the array over all tiles, were they all of full size."""
    count = trips(problem.load, steps)
    work = tensor_work(problem.load, steps, count)
    if work is None:
        return np.zeros_like(next(iter(steps.values())))
    model = dataflow.model(problem.target)
    params = model.choose(problem.target, work)
    return np.asarray(model.cycles(problem.target, work, params) * product_of(count, count))


def to_mapping(problem: Problem, best: Candidate) -> Mapping:
    one = {v: np.array([s]) for v, s in best.steps.items()}
    count = trips(problem.load, one)
    room = {a.role: int(slots(problem, a, best.choice, count).max()) for a in problem.load.accesses()}
    order = tuple(v for v in best.choice.order if count[v][0] > 1)
    return Mapping(best.steps, order, best.choice.resident, room)


def shortage(problem: Problem) -> str:
    """Which scratchpad is too small for tiles of one index, and by how much."""
    for memory, need in smallest(problem).items():
        if need > problem.free[memory]:
            return f"its smallest tile needs {need} bytes of '{memory}', which has {problem.free[memory]}"
    return "no tiling fits the instruction's fields"


def smallest(problem: Problem) -> dict[str, int]:
    """Bytes of each scratchpad that tiles of one index take, single-buffered."""
    ones = {v: np.ones(1, np.int64) for v in problem.load.dims}
    choice = Choice(tuple(problem.load.dims), (), 1)
    return {m: int(np.max(b)) for m, b in footprint(problem, choice, ones).items()}
