"""What the steps of the SIMD lanes, and of a pooling unit among them, take; all vectorised."""

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from dnncc.targets import Target, cost

from .cost import Ints, Problem, Steps, elements, filled, runs, stored, times
from .space import Loops, once, trips
from .workload import Access, StepSpec, Workload

Count = Callable[[Access], Any]
"""Elements of a tile of an operand; int or int64 array."""


class Spent(NamedTuple):
    """Cycles of a step, int64 arrays: `hide` of them a pool that comes next may overlap with, and
    with `head` of its own a pool may overlap with what is before."""

    cycles: Any
    hide: Any
    head: Any

    def shared(self, after: "Spent") -> Any:
        """With the step after it."""
        return np.minimum(self.hide, after.head)


def spent(load: Workload, spec: StepSpec, target: Target, count: Count) -> Spent:
    """On tiles of so many elements."""
    if spec.op == "pool":
        made = pools(load, spec, count)
        return Spent(made.cycles(target), 0, made.head(target))
    unit, latency = target.vector, latency_of(spec, target)
    cycles = cost.vector_cycles(count(counted(load, spec)), unit.lanes, latency)
    return Spent(cycles, (spec.op != "reduce") * cost.handed_on(cycles, latency, target), 0)


def latency_of(spec: StepSpec, target: Target) -> int:
    return spec.stages * target.vector.latency_cycles


def pools(load: Workload, spec: StepSpec, count: Count) -> cost.Pool:
    """Those of a step."""
    used, attrs = load.used(spec), spec.attrs
    return cost.Pool(
        x=count(used["x"]),
        results=count(used["out"]),
        taps=attrs["r"] * attrs["s"],
        side=max(attrs["r"], attrs["s"]),
        dilation=max(attrs["dilation_y"], attrs["dilation_x"]),
        op=attrs["op"],
        element=used["x"].dtype.itemsize,
    )


def counted(load: Workload, spec: StepSpec) -> Access:
    """Whose elements go through the lanes, one after the other."""
    return load.used(spec)["x" if spec.op == "reduce" else "out"]


def vector_cycles(problem: Problem, choice: Loops, steps: Steps) -> Ints:
    """Cycles of all steps after the sums, over all tiles."""
    tiles = stored(problem, choice, trips(problem.load, steps))
    key = "vector", frozenset(choice.order)
    return once(steps, key, lambda: outer_cycles(problem, steps, tiles))


def outer_cycles(problem: Problem, steps: Steps, tiles: Ints) -> Ints:
    load, target = problem.load, problem.target
    total: Any = np.zeros((), np.int64)
    before = Spent(0, 0, 0)
    for spec in load.outer:
        walked = counted(load, spec)
        tile = elements(walked.tile_shape(steps))
        every: Any = math.prod(d.bound for d in walked.box)
        if walked in load.temps and load.inner:
            every = tile * tiles * filled(load, steps, walked.variables())
        latency = latency_of(spec, target)
        each = spent(load, spec, target, largest(steps))
        part = Spent(each.cycles - latency, each.hide, each.head)
        part = Spent(*(np.ceil(every / tile * x).astype(np.int64) for x in part))
        total = total + part.cycles + tiles * latency - before.shared(part)
        before = part
    return np.asarray(total)


def fewest_vector_cycles(load: Workload, target: Target) -> int:
    """Were each step of the lanes one instruction."""
    whole = largest({v: np.array([extent]) for v, extent in load.dims.items()})
    found = [spent(load, s, target, whole) for s in load.steps() if s.op != "tensor"]
    shared = sum(before.shared(after) for before, after in pairwise(found))
    return int(np.max(sum(one.cycles for one in found) - shared, initial=0))


def largest(steps: Steps) -> Count:
    """Elements of the largest tile."""
    return lambda access: elements(access.tile_shape(steps))


def handing_cycles(problem: Problem, choice: Loops, steps: Steps) -> tuple[Ints, Ints]:
    """What steps between those on the array take, over all tiles; and of it, what the next step on
    the array waits for."""
    load = problem.load
    count = trips(load, steps)
    total: Any = np.zeros((), np.int64)
    waited: Any = np.zeros((), np.int64)
    for before, after in pairwise(load.inner):
        if before.op == "tensor" or after.op != "tensor":
            continue
        each = spent(load, before, problem.target, largest(steps)).cycles
        total = total + each * runs(load, before, choice, count)
        apart = choice.order if load.prepared(before) else (*before.apart, *after.apart)
        waited = waited + each * times(apart, choice, count)
    return np.asarray(total), np.asarray(waited)
