"""Mappings beside the chosen one: each differs in one thing that is given, the rest is searched.

And the same for channels: what a layer would take on the array with a few more or fewer.
"""

from collections.abc import Iterator

from msgspec import Struct
from msgspec.structs import replace

from dnncc.targets import Target

from .bound import fewest_cycles
from .cost import Problem
from .given import ANY, Given
from .mapping import Mapping
from .space import orders, residencies, sizes_of
from .workload import Workload

ROUND = (4, 8, 16, 32, 64, 128, 256)
"""Numbers of channels that arrays like are multiples of these."""


class Channels(Struct, frozen=True):
    """A layer's array cycles with `count` indices of the loop `var`."""

    var: str
    count: int
    cycles: int


def alternatives(problem: Problem, chosen: Mapping) -> Iterator[tuple[str, Given]]:
    """What else could be, in words, and given to the search."""
    if max(chosen.slots.values(), default=1) > 1:
        yield "one slot in each buffer", Given(depth=1)
    yield from other_orders(problem, chosen)
    for whole in residencies(problem.load, ANY):
        if set(whole) != set(chosen.resident):
            words = f"{' and '.join(whole)} loaded whole" if whole else "nothing loaded whole"
            yield words, Given(whole=whole)
    for var, extent in problem.load.dims.items():
        yield from other_sizes(problem.load, var, chosen.steps.get(var, extent))


def other_orders(problem: Problem, chosen: Mapping) -> Iterator[tuple[str, Given]]:
    for order in orders(problem.load, ANY):
        if tuple(v for v in order if v in chosen.order) != chosen.order:
            yield f"loops in the order {' '.join(order)}", Given(order=order)


def other_sizes(load: Workload, var: str, size: int) -> Iterator[tuple[str, Given]]:
    """The next smaller and the next larger tile along a loop."""
    known = sizes_of(load, ANY, var)
    smaller = max((s for s in known if s < size), default=None)
    larger = min((s for s in known if s > size), default=None)
    for other in (smaller, larger):
        if other is not None:
            yield f"tiles of {other} along {var}, not {size}", Given(steps={var: other})


def channels(load: Workload, target: Target) -> list[Channels]:
    """Array cycles with the channels that the layer has, first, and with rounder numbers of them,
    between half and twice as many; for input and output channels each."""
    found = []
    for var in ("k", "c"):
        extent = load.dims.get(var, 1) if load.inner else 1
        down = {extent // unit * unit for unit in ROUND}
        near = down | {-(-extent // unit) * unit for unit in ROUND}
        counts = [extent, *sorted(n for n in near - {extent} if extent <= 2 * n <= 4 * extent)]
        if extent > 1:
            found += [
                Channels(var, n, fewest_cycles(resized(load, var, n), target)) for n in counts
            ]
    return found


def resized(load: Workload, var: str, count: int) -> Workload:
    return replace(load, dims={**load.dims, var: count})
