"""The tile buffers of candidate tilings: how many slots, and whether they fit; all vectorised."""

from collections.abc import Mapping, Sequence
from functools import reduce
from typing import Any

import numpy as np
from msgspec import Struct

from ..ir.tile import SLOT_ALIGN
from .cost import Problem, Steps, elements, held, repetitions, route, times
from .rings import Rolling
from .space import MOST, SUMMED, Bools, Ints, Ways, once, product_of, trips
from .workload import Access


def slots(problem: Problem, ways: Ways, steps: Steps, room: Mapping[str, Ints]) -> dict[str, Ints]:
    """Tiles that each buffer holds, by role: as deep as there are tiles; one where only the lanes
    use it. Results in place of psums have as many as these. `room` as `rooms` says."""
    count = trips(problem.load, steps)
    buffers = (a for a in problem.load.accesses() if not a.within)
    return {a.role: np.minimum(tiles(problem, a, ways, count), room[a.role]) for a in buffers}


def tiles(problem: Problem, access: Access, ways: Ways, count: Steps) -> Ints:
    """Those that can be in use, were there room for all; one of what lies between steps of lanes
    only, which do one after the other, or comes after the last psums of a cascade, whose first
    steps leave the time for it."""
    load = problem.load
    in_lanes = access.role not in load.inside
    if access in load.temps and (load.sums or in_lanes) or load.is_last(access):
        return np.ones_like(product_of(count, ()))
    if access.kind in ("psum", "ofmap"):
        return times(access.apart, ways, count)
    return repetitions(access, ways, count)


def footprint(
    problem: Problem, ways: Ways, steps: Steps, room: Mapping[str, Ints] | None = None
) -> dict[str, Ints]:
    """Bytes that the tile buffers take of each scratchpad; `room` as `rooms` says."""
    room = rooms(problem, ways, steps) if room is None else room
    count, used = trips(problem.load, steps), dict[str, Ints]()
    for access, memory in problem.buffers:
        held = np.minimum(tiles(problem, access, ways, count), room[access.role])
        ring = ways.rolls(access)
        size = (
            ring_bytes(ring, steps, held)
            if ring
            else slot_bytes(access, ways.resident, steps) * held
        )
        used[memory] = used[memory] + size if memory in used else size
    return used


def one_slot_each(problem: Problem, resident: Sequence[str], steps: Steps) -> dict[str, Ints]:
    """Bytes of each scratchpad that every choice takes at least, with these residents."""
    used = dict[str, Ints]()
    for access, memory in problem.buffers:
        size = slot_bytes(access, resident, steps)
        used[memory] = used[memory] + size if memory in used else size
    return used


def rooms(problem: Problem, ways: Ways, steps: Steps) -> dict[str, Ints]:
    """The most tiles that each buffer holds, by role."""
    load = problem.load
    if not ways.fits:
        usual = {a.role: ways.room(a.role) for a in load.accesses()}
        return usual | psum_rooms(problem, ways, steps)
    found: dict[str, Ints] = {}
    for memory in dict.fromkeys(memory for _, memory in problem.buffers):
        together = [access for access, place in problem.buffers if place == memory]
        depth = deepest(problem, together, ways, steps, problem.free[memory])
        found |= {a.role: ways.room(a.role, depth) for a in together}
    place = {
        a.role: "psum" if a is load.result and problem.in_place else a.role for a in load.accesses()
    }
    return {role: found.get(of, np.ones_like(ways.depth)) for role, of in place.items()}


def psum_rooms(problem: Problem, ways: Ways, steps: Steps) -> dict[str, Ints]:
    """Psums with a memory of their own have as many slots as fit, up to SUMMED: the array holds one
    from the first weight that enters until the lanes have taken the last of its sums."""
    psum, given = problem.load.psum, problem.given
    fixed = given.depth or "psum" in given.slots
    if psum is None or not problem.psums_apart or problem.load.sums or fixed:
        return {}
    size, own = slot_bytes(psum, (), steps), ways.room("psum")
    room = problem.free[problem.target.memory_for("psum").name]
    fit = once(steps, "psum", lambda: np.minimum(room // size, SUMMED))
    return {"psum": np.maximum(own, fit * (own > 1))}


def deepest(
    problem: Problem, together: Sequence[Access], ways: Ways, steps: Steps, free: int
) -> Ints:
    """The most slots that buffers in one memory have each, but for those with slots of their
    own. By bisection, as more slots take no less."""
    count, limit = trips(problem.load, steps), most(problem, together, int(ways.depth.max()))
    number = [tiles(problem, access, ways, count) for access in together]
    size = [slot_bytes(access, ways.resident, steps) for access in together]
    depth = np.ones_like(ways.depth)
    for bit in reversed(range((limit - 1).bit_length())):
        more = np.minimum(depth + (1 << bit), limit)
        room = [ways.room(access.role, more) for access in together]
        taken = [s * np.minimum(n, r) for s, n, r in zip(size, number, room, strict=True)]
        depth = np.where(reduce(np.add, taken) <= free, more, depth)
    return depth


def most(problem: Problem, buffers: Sequence[Access], depth: int) -> int:
    """Slots that are of use: loads that do not have their engine for themselves stand where their
    tiles are used (codegen/ahead.py), and are issued no earlier than queues are long."""
    loads = [a for a in problem.load.inputs if problem.moves(a)]
    engines = [route(problem, a).engine.name for a in loads]
    shared = any(engines.count(e) > 1 for a, e in zip(loads, engines, strict=True) if a in buffers)
    return min(depth, problem.target.issue.queue_depth) if shared else depth


def slot_bytes(access: Access, resident: Sequence[str], steps: Steps) -> Ints:
    whole = access.role in resident

    def made() -> Ints:
        return np.asarray(aligned(elements(held(access, whole, steps)) * access.dtype.itemsize))

    return once(steps, ("slot", access.role, whole), made)


def ring_bytes(ring: Rolling, steps: Steps, slots: Ints) -> Ints:
    return np.asarray(aligned(elements(ring.shape(steps, slots)) * ring.access.dtype.itemsize))


def aligned(size: Any) -> Any:
    """An int, or int64 array."""
    return -(-size // SLOT_ALIGN) * SLOT_ALIGN


def within(problem: Problem, used: Mapping[str, Ints], share: int) -> Bools:
    """The candidates whose tiles take at most 1 / `share` of what is free."""
    fits: Any = np.True_
    for memory, taken in used.items():
        fits = fits & (taken <= problem.free[memory] // share)
    return np.asarray(fits)


class Queue(Struct, frozen=True):
    """Of results that are stored over a link on which operands are loaded, too: how many there are
    to a `load` of what is loaded again and again, and `slots` that they wait in."""

    load: Ints
    slots: Ints


def queue(
    problem: Problem,
    ways: Ways,
    steps: Steps,
    used: Mapping[str, Ints],
    room: Mapping[str, Ints] | None = None,
) -> Queue:
    """A result cannot leave while a load has the link. So there are slots for what is made
    meanwhile, as far as there is memory for them beside what is `used`; `room` as `rooms` says."""
    result, count = problem.load.result, trips(problem.load, steps)
    own = (rooms(problem, ways, steps) if room is None else room)[result.role]
    loads = [repetitions(access, ways, count) for access in beside_results(problem)]
    if not loads or problem.in_place:
        return Queue(np.zeros((), np.int64), own)
    made = tiles(problem, result, ways, count)
    each = reduce(np.maximum, (np.where(n > 1, -(-made // n), 0) for n in loads))
    given = problem.given
    if given.depth or result.role in given.slots:
        return Queue(each, own)
    memory = problem.target.memory_for("ofmap").name
    size = slot_bytes(result, ways.resident, steps)
    left = np.maximum(problem.free[memory] - used[memory], 0) // np.maximum(size, 1)
    more = np.minimum(own + left, np.maximum(own, MOST))
    return Queue(each, np.where(ways.depth < 2, own, more))


def beside_results(problem: Problem) -> list[Access]:
    """What is loaded over the link that results are stored over."""
    taken = {way.link for way in problem.routes if way.stores}
    return [way.access for way in problem.routes if not way.stores and way.link in taken]
