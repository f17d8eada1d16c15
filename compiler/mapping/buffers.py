"""The tile buffers of candidate tilings: how many slots, and whether they fit; all vectorised."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..ir.tile import SLOT_ALIGN
from .cost import Problem, Steps, elements, held, repetitions, times
from .rings import Rolling
from .space import Bools, Choice, Ints, product_of, trips
from .workload import Access


def slots(problem: Problem, access: Access, choice: Choice, count: Steps) -> Ints:
    """Tiles that its buffer holds: as deep as there are tiles; one where only the lanes use it."""
    return np.minimum(tiles(problem, access, choice, count), choice.room(access.role))


def tiles(problem: Problem, access: Access, choice: Choice, count: Steps) -> Ints:
    """Those that can be in use, were there room for all; one of what lies between steps of lanes
    only, or comes after the last psums of a cascade, whose first steps leave the time for it."""
    load = problem.load
    if access in load.temps and (load.sums or not load.inner) or load.is_last(access):
        return np.ones_like(product_of(count, ()))
    if access.kind in ("psum", "ofmap"):
        return times(access.apart, choice, count)
    return repetitions(access, choice, count)


Buffers = dict[tuple[Any, ...], tuple[Ints, Ints]]
"""Bytes of a slot and `tiles` of an operand, by its role, the loop order, and whether it is
resident: what choices have in common that differ in slots only."""


def footprint(
    problem: Problem, choice: Choice, steps: Steps, known: Buffers | None = None
) -> dict[str, Ints]:
    """Bytes that the tile buffers take of each scratchpad. What is not `known` is added to it."""
    known = {} if known is None else known
    used: dict[str, Ints] = {}
    for access in filter(problem.buffered, problem.load.accesses()):
        key = access.role, choice.order, access.role in choice.resident
        if key not in known:
            count = trips(problem.load, steps)
            known[key] = slot_bytes(access, choice, steps), tiles(problem, access, choice, count)
        size, number = known[key]
        memory = problem.target.memory_for(access.kind).name  # type: ignore[arg-type]
        room = np.minimum(number, choice.room(access.role))
        ring = choice.rolls(access)
        size = ring_bytes(ring, steps, room) if ring else size * room
        used[memory] = used.get(memory, np.int64(0)) + size
    return used


def slot_bytes(access: Access, choice: Choice, steps: Steps) -> Ints:
    return aligned(elements(held(access, choice, steps)) * access.dtype.itemsize)


def ring_bytes(ring: Rolling, steps: Steps, slots: Ints) -> Ints:
    return aligned(elements(ring.shape(steps, slots)) * ring.access.dtype.itemsize)


def aligned(size: Ints) -> Ints:
    return np.asarray(-(-size // SLOT_ALIGN) * SLOT_ALIGN)


def within(problem: Problem, used: Mapping[str, Ints], share: int) -> Bools:
    """The candidates whose tiles take at most 1 / `share` of what is free."""
    fits: Any = np.True_
    for memory, taken in used.items():
        fits = fits & (taken <= problem.free[memory] // share)
    return np.asarray(fits)
