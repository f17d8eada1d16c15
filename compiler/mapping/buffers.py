"""The tile buffers of candidate tilings: how many slots, and whether they fit; all vectorised."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import reduce
from typing import Any

import numpy as np

from dnncc.targets.floor import link

from ..ir.tile import SLOT_ALIGN
from .cost import Problem, Steps, channel, elements, held, repetitions, times
from .rings import Rolling
from .space import MOST, Bools, Choice, Ints, Slots, once, product_of, trips
from .workload import Access


def slots(problem: Problem, choice: Choice, steps: Steps) -> dict[str, Ints]:
    """Tiles that each buffer holds, by role: as deep as there are tiles; one where only the lanes
    use it. Results in place of psums have as many as these."""
    count, room = trips(problem.load, steps), rooms(problem, choice, steps)
    buffers = (a for a in problem.load.accesses() if not a.within)
    return {a.role: np.minimum(tiles(problem, a, choice, count), room[a.role]) for a in buffers}


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
    room = rooms(problem, choice, steps, known)
    used: dict[str, Ints] = {}
    for access in filter(problem.buffered, problem.load.accesses()):
        size, number = sized(problem, access, choice, steps, known)
        memory = memory_of(problem, access)
        held = np.minimum(number, room[access.role])
        ring = choice.rolls(access)
        size = ring_bytes(ring, steps, held) if ring else size * held
        used[memory] = used.get(memory, np.int64(0)) + size
    return used


def memory_of(problem: Problem, access: Access) -> str:
    return problem.target.memory_for(access.kind).name  # type: ignore[arg-type]


def sized(
    problem: Problem, access: Access, choice: Choice, steps: Steps, known: Buffers
) -> tuple[Ints, Ints]:
    """Bytes of a slot, and `tiles`."""
    key = access.role, choice.order, access.role in choice.resident
    if key not in known:
        count = trips(problem.load, steps)
        known[key] = slot_bytes(access, choice, steps), tiles(problem, access, choice, count)
    return known[key]


def rooms(
    problem: Problem, choice: Choice, steps: Steps, known: Buffers | None = None
) -> dict[str, Ints]:
    """The most tiles that each buffer holds, by role."""
    load = problem.load
    if not choice.fits:
        return {a.role: np.asarray(choice.room(a.role)) for a in load.accesses()}
    known = {} if known is None else known
    sharing: dict[str, list[Access]] = {}
    for access in filter(problem.buffered, load.accesses()):
        sharing.setdefault(memory_of(problem, access), []).append(access)
    found: dict[str, Ints] = {}
    for memory, some in sharing.items():
        each = [sized(problem, a, choice, steps, known) for a in some]
        depth = deepest(
            each, [choice.slots.get(a.role) for a in some], choice, problem.free[memory]
        )
        found |= {a.role: np.asarray(choice.slots.get(a.role, depth)) for a in some}
    place = {
        a.role: "psum" if a is load.result and problem.in_place() else a.role
        for a in load.accesses()
    }
    return {role: found.get(of, np.asarray(1)) for role, of in place.items()}


def deepest(
    buffers: Sequence[tuple[Ints, Ints]], fixed: Sequence[int | None], choice: Choice, free: int
) -> Ints:
    """The most slots that buffers in one memory have each, if those that are `fixed` do not."""
    depth: Any = np.ones((), np.int64)
    for more in range(2, choice.depth + 1):
        taken = [
            size * np.minimum(number, alone or more)
            for (size, number), alone in zip(buffers, fixed, strict=True)
        ]
        depth = np.where(reduce(np.add, taken) <= free, more, depth)
    return np.asarray(depth)


def slot_bytes(access: Access, choice: Choice, steps: Steps) -> Ints:
    whole = access.role in choice.resident

    def made() -> Ints:
        return aligned(elements(held(access, whole, steps)) * access.dtype.itemsize)

    return once(steps, ("slot", access.role, whole), made)


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


def queued(problem: Problem, choice: Choice, steps: Steps, room: Slots) -> Slots:
    """`room`, with slots for the results that are made while another operand's tile is loaded, as
    far as there is memory for them: on a link that both share, they have to wait for the load."""
    result, given = problem.load.result, problem.given
    if choice.depth < 2 or given.depth or result.role in given.slots or problem.in_place():
        return room
    count = trips(problem.load, steps)
    made = times(result.apart, choice, count)
    loads = [repetitions(access, choice, count) for access in beside_results(problem)]
    more = int(max((-(-made // number)).max() for number in loads)) if loads else 0
    for slots in range(min(int(made.max()), room[result.role] + more, MOST), room[result.role], -1):
        wider = {**room, result.role: slots}
        used = footprint(problem, replace(choice, slots=wider, fits=False), steps)
        if within(problem, used, 1).all():
            return wider
    return room


def beside_results(problem: Problem) -> list[Access]:
    """What is loaded over the link that results are stored over."""
    if not problem.moves(problem.load.result):
        return []
    taken = lane(problem, problem.load.result)
    return [a for a in problem.load.inputs if problem.moves(a) and lane(problem, a) == taken]


def lane(problem: Problem, access: Access) -> int:
    stores = access is problem.load.result
    return link(problem.target, channel(problem, access), stores)
