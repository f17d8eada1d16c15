"""The tile buffers of candidate tilings: how many slots, and whether they fit; all vectorised."""

from collections.abc import Mapping, Sequence
from functools import reduce
from typing import Any, NamedTuple

import numpy as np

from dnncc.targets.floor import link

from ..ir.tile import SLOT_ALIGN
from .cost import Problem, Steps, channel, elements, held, repetitions, times
from .rings import Rolling
from .space import MOST, Bools, Choice, Ints, once, product_of, trips
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


class Queue(NamedTuple):
    """Of results that are stored over a link on which operands are loaded, too: how many there are
    to a `load` of what is loaded again and again, and `slots` that they wait in."""

    load: Ints
    slots: Ints


def queue(
    problem: Problem,
    choice: Choice,
    steps: Steps,
    used: Mapping[str, Ints],
    known: Buffers | None = None,
) -> Queue:
    """A result cannot leave while a load has the link. So there are slots for what is made
    meanwhile, as far as there is memory for them beside what is `used`."""
    known = {} if known is None else known
    result, count = problem.load.result, trips(problem.load, steps)
    room = rooms(problem, choice, steps, known)[result.role]
    loads = [repetitions(access, choice, count) for access in beside_results(problem)]
    if not loads or problem.in_place():
        return Queue(np.zeros((), np.int64), room)
    size, made = sized(problem, result, choice, steps, known)
    each = reduce(np.maximum, (np.where(n > 1, -(-made // n), 0) for n in loads))
    given = problem.given
    if choice.depth < 2 or given.depth or result.role in given.slots:
        return Queue(each, room)
    memory = memory_of(problem, result)
    left = np.maximum(problem.free[memory] - used[memory], 0) // np.maximum(size, 1)
    return Queue(each, np.minimum(room + left, np.maximum(room, MOST)))


def beside_results(problem: Problem) -> list[Access]:
    """What is loaded over the link that results are stored over."""
    if not problem.moves(problem.load.result):
        return []
    taken = lane(problem, problem.load.result)
    return [a for a in problem.load.inputs if problem.moves(a) and lane(problem, a) == taken]


def lane(problem: Problem, access: Access) -> int:
    stores = access is problem.load.result
    return link(problem.target, channel(problem, access), stores)
