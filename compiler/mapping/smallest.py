"""The smallest tiles of a group, and why not even these can be taken."""

import math
from collections import Counter
from functools import reduce

import numpy as np

from dnncc.targets import dataflow

from .array import array_parts
from .buffers import aligned, footprint
from .cost import Ints, Problem
from .given import ANY
from .rings import rolling
from .space import Bools, Choice, Mesh, Ways


class NoMapping(Exception):
    """Not even the smallest tiles can be taken; the text says why."""


class NoRoom(NoMapping):
    """It is a scratchpad that is too small."""


def fixed(problem: Problem) -> Ints:
    return dataflow.fixed(problem.target, problem.given.array)


def runnable(problem: Problem, steps: Mesh) -> Bools:
    """The tilings that the array can run with the parameters that are given."""
    if not problem.given.array:
        return np.ones((), np.bool_)
    least, model = np.maximum(fixed(problem), 1), dataflow.model(problem.target)
    parts = array_parts(problem.load, steps)
    able = (model.legal(problem.target, part.work, least) for part in parts)
    return reduce(np.logical_and, able, np.ones((), np.bool_))


def hindrance(problem: Problem) -> NoMapping:
    """Why not even the smallest tiles, of one index where nothing is given, can be taken."""
    for memory, need in smallest(problem).items():
        if need > problem.free[memory]:
            room = problem.free[memory]
            return NoRoom(f"its smallest tile needs {need} bytes of '{memory}', which has {room}")
    steps = smallest_steps(problem)
    parts = array_parts(problem.load, steps)
    if not parts or not problem.given.array:
        return NoMapping("no tiling fits the instruction's fields")
    model, least = dataflow.model(problem.target), np.maximum(fixed(problem), 1)
    tiles = (dataflow.Work.from_table(part.work.table()[0]) for part in parts)
    broken = next(filter(None, (model.explain(problem.target, t, least) for t in tiles)), "")
    return NoMapping(broken or "no tile fits both memories and array")


def smallest(problem: Problem) -> dict[str, int]:
    """Bytes of each scratchpad that the smallest tiles take, single-buffered."""
    given = problem.given
    if given is ANY:
        return dict(one_index(problem))
    order = tuple(problem.load.dims) if given.order is None else given.order
    ring = rolling(problem.load) if given.ring else None
    choice = Choice(order, given.whole or (), given.depth or 1, given.slots, ring)
    used = footprint(problem, Ways.of({0: choice}), smallest_steps(problem))
    return {m: int(np.max(b)) for m, b in used.items()}


def one_index(problem: Problem) -> Counter[str]:
    """Bytes that buffers of one tile take, of one index of each loop."""
    used = Counter[str]()
    for access, memory in problem.buffers:
        shape = (min(d.bound, d.extent) for d in access.box)
        used[memory] += aligned(math.prod(shape) * access.dtype.itemsize)
    return used


def smallest_steps(problem: Problem) -> Mesh:
    given, load = problem.given, problem.load
    sizes = {v: given.step(v, n) or load.least(v) for v, n in load.dims.items()}
    return Mesh({v: np.array([size]) for v, size in sizes.items()})
