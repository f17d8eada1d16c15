"""What the steps of the SIMD lanes, and of a pooling unit among them, take; all vectorised."""

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np

from dnncc.targets import Target, cost

from .cost import Ints, Problem, Steps, elements, filled, runs, stored, times
from .space import Choice, trips
from .workload import Access, StepSpec, Workload

Count = Callable[[Access], Any]
"""Elements of a tile of an operand; int or int64 array."""


def step_cycles(load: Workload, spec: StepSpec, target: Target, count: Count) -> Ints:
    """Cycles of one step on tiles of so many elements."""
    if spec.op == "pool":
        return np.asarray(pools(load, spec, count).cycles(target))
    unit = target.vector
    latency = spec.stages * unit.latency_cycles
    return np.asarray(cost.vector_cycles(count(counted(load, spec)), unit.lanes, latency))


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


def vector_cycles(problem: Problem, choice: Choice, steps: Steps) -> Ints:
    """Cycles of all steps after the sums, over all tiles."""
    load, target = problem.load, problem.target
    tiles = stored(problem, choice, trips(load, steps))
    total: Any = np.zeros((), np.int64)
    for spec in load.outer:
        walked = counted(load, spec)
        tile = elements(walked.tile_shape(steps))
        every: Any = math.prod(d.bound for d in walked.box)
        if walked in load.temps and load.inner:
            every = tile * tiles * filled(load, steps, walked.variables())
        latency = spec.stages * target.vector.latency_cycles
        once = step_cycles(load, spec, target, largest(steps)) - latency
        total = total + np.ceil(every / tile * once).astype(np.int64) + tiles * latency
    return np.asarray(total)


def largest(steps: Steps) -> Count:
    """Elements of the largest tile."""
    return lambda access: elements(access.tile_shape(steps))


def handing_cycles(problem: Problem, choice: Choice, steps: Steps) -> tuple[Ints, Ints]:
    """What steps between those on the array take, over all tiles; and of it, what the next step on
    the array waits for."""
    load = problem.load
    count = trips(load, steps)
    total: Any = np.zeros((), np.int64)
    waited: Any = np.zeros((), np.int64)
    for before, after in pairwise(load.inner):
        if before.op == "tensor" or after.op != "tensor":
            continue
        once = step_cycles(load, before, problem.target, largest(steps))
        total = total + once * runs(load, before, choice, count)
        apart = choice.order if load.prepared(before) else (*before.apart, *after.apart)
        waited = waited + once * times(apart, choice, count)
    return np.asarray(total), np.asarray(waited)
