"""The steps of a workload on the PE array, as the dataflow sees them, for many tilings at once."""

import math
from collections.abc import Mapping, Sequence
from itertools import product
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from dnncc.targets import dataflow

from .space import product_of, trips
from .workload import StepSpec, Workload

Ints = npt.NDArray[np.int64]
Steps = Mapping[str, Ints]


OPERANDS = ("ifmap", "weight", "psum")


class Part(NamedTuple):
    """A step on the array as the dataflow sees it: a full tile of each candidate, how many tiles
    there are, and how many of them do not begin a sum."""

    work: dataflow.Work
    tiles: Ints
    later: Ints


def array_parts(load: Workload, steps: Steps) -> list[Part]:
    """The steps on the array, in program order."""
    count = trips(load, steps)
    return [array_part(load, spec, steps, count) for spec in load.on_array()]


def array_part(load: Workload, spec: StepSpec, steps: Steps, count: Steps) -> Part:
    used, one = load.used(spec), np.ones_like(next(iter(steps.values())))
    shapes = {name: used[name].tile_shape(steps) for name in OPERANDS}
    summed = product_of(count, load.summed(spec))
    tiles = product_of(count, [v for v in count if v not in spec.apart])
    work = work_of(spec, shapes, one * (summed > 1))
    return Part(work, tiles, tiles - tiles // summed)


def work_of(
    spec: StepSpec, shapes: Mapping[str, Sequence[Ints]], accumulate: Ints
) -> dataflow.Work:
    """A step on tiles of these shapes, as columns of the length of `accumulate`."""
    one = np.ones_like(accumulate)
    axes = {
        name: dict(zip(spec.attrs[f"{name}_axes"], shapes[name], strict=True)) for name in OPERANDS
    }
    plane = {v: axes["psum"].get(v, one) * one for v in "nkpq"}
    groups = np.maximum(axes["ifmap"]["c"] // axes["weight"]["c"], 1)
    taken = {**plane, "k": plane["k"] // groups, "g": groups * one, "c": axes["weight"]["c"] * one}
    names = ("r", "s", "stride_y", "stride_x", "dilation_y", "dilation_x")
    return dataflow.Work(
        **taken,
        **{v: spec.attrs[v] * one for v in names},
        h=axes["ifmap"].get("h", one) * one,
        w=axes["ifmap"]["w"] * one,
        accumulate=np.asarray(accumulate, np.int64),
    )


def macs(load: Workload) -> int:
    """Of all steps on the array, were no psum computed twice."""
    return sum(macs_of(load, spec) for spec in load.on_array())


def macs_of(load: Workload, spec: StepSpec) -> int:
    used = load.used(spec)
    channels = used["weight"].box[spec.attrs["weight_axes"].index("c")].bound
    psums = math.prod(d.bound for d in used["psum"].box)
    return int(psums * channels * spec.attrs["r"] * spec.attrs["s"])


def uneven(load: Workload, steps: Steps) -> tuple[Ints, Ints, Steps]:
    """Per candidate, `row`, and size that its tiles have: how many there are, and their steps."""
    ends = {v: (s, load.dims[v] // s, load.dims[v] % s) for v, s in steps.items()}
    found = []
    for last in product(*((False, True) if e[2].any() else (False,) for e in ends.values())):
        number = np.ones_like(next(iter(steps.values())))
        for at_end, (_, full, rest) in zip(last, ends.values(), strict=True):
            number = number * ((rest > 0) if at_end else full)
        row = np.flatnonzero(number)
        sizes = [
            (rest if e else s)[row] for e, (s, _, rest) in zip(last, ends.values(), strict=True)
        ]
        found.append((row, number[row], *sizes))
    row, number, *columns = map(np.concatenate, zip(*found, strict=True))
    return row, number, dict(zip(ends, columns, strict=True))
