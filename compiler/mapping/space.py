"""The mapspace of a workload: candidate tile sizes, loop orders, residency, as arrays."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product

import numpy as np
import numpy.typing as npt

from .workload import Workload

Ints = npt.NDArray[np.int64]

LARGEST_FIELD = 65535
LARGEST_BATCH = 255

ORDERS = (("g", "n", "p", "q", "k", "c"), ("g", "k", "n", "p", "q", "c"))
"""Output channels innermost: ifmap tiles stay; pixels innermost: weight tiles stay. Sums of input
channels are innermost in both, so that psums never leave their memory unfinished."""

TRIPS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 256, 512, 1024, 4096)
"""Tiles are made equal: as many trips as these, not a multiple and a remainder."""


@dataclass(frozen=True, slots=True)
class Choice:
    """What stays the same over a call of the cost model, beside the arrays of tile sizes."""

    order: tuple[str, ...]
    resident: tuple[str, ...]
    depth: int


def tile_sizes(extent: int, limit: int, few: bool = False) -> list[int]:
    """Candidate steps for a loop over `extent`: equal tiles for a spread of trip counts, and 1."""
    trips = TRIPS[:8] if few else TRIPS
    sizes = {-(-extent // t) for t in trips} | {1}
    return sorted((s for s in sizes if s <= limit), reverse=True)


def largest(load: Workload, var: str) -> int:
    """The most indices of a loop variable that one instruction takes."""
    if var in load.single:
        return 1
    return LARGEST_BATCH if var == "n" else LARGEST_FIELD


def tilings(load: Workload) -> dict[str, Ints]:
    """All combinations of tile sizes, one int64 array per variable, all of one length."""
    names = list(load.dims)
    grouped = load.dims.get("g", 1) > 1
    sizes = [tile_sizes(load.dims[v], largest(load, v), v in ("n", "q")) for v in names]
    grid = np.array(list(product(*sizes)), np.int64).reshape(-1, len(names))
    steps = {v: grid[:, i] for i, v in enumerate(names)}
    if not grouped:
        return steps
    # A tile of several groups takes all their channels: a box is one range per dimension.
    whole = (steps["k"] == load.dims["k"]) & (steps["c"] == load.dims["c"])
    keep = whole | (steps["g"] == 1)
    return {v: s[keep] for v, s in steps.items()}


def choices(load: Workload) -> Iterator[Choice]:
    """Loop orders and residencies worth pricing, and double or single buffering of the rest."""
    outer = tuple(v for v in load.single if v not in ORDERS[0])
    orders = [outer + tuple(v for v in order if v in load.dims) for order in ORDERS]
    weights = tuple(a.role for a in load.inputs if a.kind in ("weight", "params"))
    ifmaps = tuple(a.role for a in load.inputs if a.kind == "ifmap" and len(a.box) <= 4)
    if not weights:
        orders = orders[:1]
    for depth in (2, 1):
        for order in dict.fromkeys(orders):
            yield Choice(order, (), depth)
            if weights:
                yield Choice(order, weights, depth)
                yield Choice(order, ifmaps, depth)


def trips(load: Workload, steps: Mapping[str, Ints]) -> dict[str, Ints]:
    return {v: -(-load.dims[v] // s) for v, s in steps.items()}
