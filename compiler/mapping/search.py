"""Choose the mapping of a group: the cheapest that fits, by the simulator's own prices.

The array's model says of all tilings what their channels take at least. Those of which that is the
lowest are bounded under all loop orders, residencies and slots (pool.py); the model then prices the
most promising of these in rounds, and the fastest rules out others, as well as tilings that were
not looked at (rounds.py). Finalists are priced with the smaller tiles at loops' ends.

Of those within a few percent of the fastest, the ones with the fewest bytes from DRAM, code
included, are looked at, and one that goes over the map's rows outermost is taken: then the next
layer can begin with the first rows. A layer alone has no next one, and
its ends overlap with nothing: of the fastest, by rehearsal, the one of the fewest bytes is taken.
"""

from collections.abc import Callable
from itertools import takewhile

import numpy as np
import numpy.typing as npt
from msgspec import Struct
from msgspec.structs import replace

from .array import array_parts, uneven
from .asking import Asking
from .beside import CODE_BYTES
from .buffers import footprint, queue, rooms, slots, tiles
from .cost import Problem
from .mapping import Mapping
from .pool import CYCLE_SLACK, UNEVEN, UNKNOWN, Pool, Steps, taken
from .rings import rolling
from .rounds import ROUNDS, priced
from .space import LONE, LONE_OPERAND, SUMS, Choice, Mesh, Slots, Ways, choices, product_of, trips
from .workload import Workload

Ints = npt.NDArray[np.int64]

BYTE_SLACK, LANES_SLACK, CODE_SLACK, FEW = 1.02, 1.15, 1.25, 8
"""How many more bytes and instructions tiles of rows are worth, without the array a few rows of
halo, too; a few are nothing."""

STREAMED = 8
"""Tiles of rows beyond which more of them are no better for the next layer."""

FINALISTS = 48
"""How many tilings are looked at closely, all of their tiles at their sizes."""

REHEARSALS, EVEN = 64, 1.005
"""Of candidates for a layer alone, at most; and how much slower one may be, for its fewer bytes."""


class Found(Struct, frozen=True):
    """A mapping, and what it is estimated to cost: cycles, and those of the array alone; bytes;
    energy only where it was asked for."""

    mapping: Mapping
    cycles: int
    array: int
    bytes: int
    energy: float = 0.0


def searching(problem: Problem, limit: int, rounds: int = ROUNDS) -> Asking[Found]:
    """The mapping with the fewest estimated cycles, but for the slack. Raises NoMapping.

    The array's model prices a few times `limit` tilings; with one of the `rounds` first guesses.
    """
    options = options_of(problem)
    pool = yield from priced(problem, options, limit, rounds)
    pool = yield from refined(problem, pool)
    slack = BYTE_SLACK if problem.load.inner else LANES_SLACK
    best = preferred(pool, streams(problem.load, options, pool.steps), slack)
    if not problem.alone:
        return found(problem, options, pool, best)

    from .rehearsal import rehearsed  # with the event loop, which networks do not wait for

    def rehearse(row: int) -> int | None:
        return rehearsed(problem, found(problem, options, pool, row).mapping)

    best, cycles = settled(pool, best, rehearse)
    return replace(found(problem, options, pool, best), cycles=cycles)


def found(problem: Problem, options: list[Choice], pool: Pool, row: int) -> Found:
    chosen = {v: int(s[pool.tile[row]]) for v, s in pool.steps.items()}
    mapping = to_mapping(problem, options[int(pool.choice[row])], chosen)
    array = int(pool.array[pool.tile[row], 0])
    return Found(mapping, int(pool.cycles[row]), array, int(pool.beside.bytes[row]))


def settled(pool: Pool, best: int, rehearse: Callable[[int], int | None]) -> tuple[int, int]:
    """The lightest row of the pool, and its cycles, by rehearsals of those that seem to be it or
    the fastest. They begin with the one that is the `best` in a network; if that is too long for a
    rehearsal it is it, and others that are too long are out."""
    cycles, known, row = pool.cycles, set[int](), best
    for _ in range(REHEARSALS):
        played = rehearse(row)
        if played is None and row == best:
            return best, int(cycles[best])
        cycles[row] = UNKNOWN if played is None else played
        known.add(row)
        fastest, light = int(cycles.argmin()), lightest(pool, cycles)
        if fastest in known and light in known:
            return light, int(cycles[light])
        row = light if fastest in known else fastest
    rest = np.full_like(cycles, UNKNOWN)
    rest[list(known)] = cycles[list(known)]
    light = lightest(pool, rest)
    return light, int(rest[light])


def lightest(pool: Pool, cycles: Ints) -> int:
    """Of the fastest rows the one of the fewest bytes, code included."""
    near = np.flatnonzero(cycles <= EVEN * cycles.min())
    return int(near[np.lexsort((cycles[near], pool.beside.bytes[near]))[0]])


def options_of(problem: Problem) -> list[Choice]:
    tried = worth_trying(problem)
    single = dict.fromkeys(sorted(problem.load.joining), 1)
    more = ({**slots, **single} for slots in tried if single)
    return list(choices(problem.load, problem.given, (*tried, *more), problem.tight))


def worth_trying(problem: Problem) -> tuple[Slots, ...]:
    """Where operands share a memory, one can be worth the room of another's next tile."""
    target, load = problem.target, problem.load
    psum, ifmap = target.memory_for("psum"), target.memory_for("ifmap")
    if load.psum is None:
        return ({},)
    if problem.given.ring:
        return ({}, SUMS if psum == ifmap else {"weight": 1})
    if psum == ifmap:
        return LONE[::2] if load.sums else LONE  # the last psums of a cascade have one slot anyway
    if ifmap == target.memory_for("weight"):
        return LONE_OPERAND
    return ({},)


def preferred(pool: Pool, streams: Ints, slack: float = BYTE_SLACK) -> int:
    """The row of the pool to take, by cycles, bytes and `streams` of each choice and tile."""
    cycles, moved = pool.cycles, pool.beside.bytes
    near = np.flatnonzero(cycles <= CYCLE_SLACK * cycles.min())
    near = near[moved[near] <= slack * moved[near].min() + FEW * CODE_BYTES]
    code = pool.beside.code[near]
    near = near[code <= CODE_SLACK * code.min() + FEW]
    streamed = streams[pool.choice[near], pool.tile[near]]
    return int(near[np.lexsort((moved[near], cycles[near], -streamed))[0]])


def streams(load: Workload, options: list[Choice], steps: Steps) -> Ints:
    """How many tiles of rows are finished one after the other, at most STREAMED: int64[choices,
    tiles]."""
    count = trips(load, steps)
    rows = np.minimum(count.get("p", 1), STREAMED)
    outside = {o.order: product_of(count, takewhile("p".__ne__, o.order)) for o in options}
    by_order = {order: np.where(before == 1, rows, 1) for order, before in outside.items()}
    return np.array([by_order[option.order] for option in options])


def refined(problem: Problem, pool: Pool) -> Asking[Pool]:
    """The candidates that can be the fastest, the smaller tiles at the ends of loops priced, too;
    of cascades all, as they were."""
    if len(problem.load.on_array()) != 1:
        return pool
    cycles = pool.cycles
    rows = np.argsort(cycles, kind="stable")
    rows = rows[cycles[rows] <= UNEVEN * cycles[rows[0]]]
    tiles = pool.tile[rows][np.sort(np.unique(pool.tile[rows], return_index=True)[1])][:FINALISTS]
    array = pool.array.copy()
    steps = {v: s[tiles] for v, s in pool.steps.items()}
    array[tiles] = yield from exact_cycles(problem, steps)
    return taken(replace(pool, array=array), np.isin(pool.tile, tiles))


def exact_cycles(problem: Problem, steps: Steps) -> Asking[Ints]:
    """As `asked_cycles`, of a workload with one step on the array, each tile at its own size."""
    row, number, sizes = uneven(problem.load, steps)
    (part,) = array_parts(problem.load, sizes)
    phases = yield part.work
    total = np.zeros((len(next(iter(steps.values()))), 2), np.int64)
    shared = phases.repeated(np.zeros_like(number))
    np.add.at(total, row, np.stack((phases.repeated(number) - shared, phases.cycles * number), -1))
    last = np.zeros(len(total), np.int64)
    np.maximum.at(last, row, shared)
    return total + np.stack((last, last * 0), axis=-1)


def to_mapping(problem: Problem, choice: Choice, steps: dict[str, int]) -> Mapping:
    one = Mesh({v: np.array([s]) for v, s in steps.items()})
    count, ways = trips(problem.load, one), Ways.of({0: choice})
    room, result = rooms(problem, ways, one), problem.load.result
    held = {role: int(n.max()) for role, n in slots(problem, ways, one, room).items()}
    wait = queue(problem, ways, one, footprint(problem, ways, one, room), room).slots
    held[result.role] = int(np.minimum(tiles(problem, result, ways, count), wait).max())
    order = tuple(v for v in choice.order if count[v][0] > 1)
    given = dict(problem.given.array)
    ring = (choice.ring.access.role,) if choice.ring else ()
    return Mapping(steps, order, choice.resident, held, given, ring)


def footprint_of(problem: Problem, mapping: Mapping) -> dict[str, int]:
    """Bytes of each scratchpad that its tiles take."""
    ring = rolling(problem.load) if mapping.ring else None
    choice = Choice(mapping.order, mapping.resident, 1, mapping.slots, ring)
    steps = {v: np.array([s]) for v, s in mapping.steps.items()}
    used = footprint(problem, Ways.of({0: choice}), steps)
    return {memory: int(np.max(taken)) for memory, taken in used.items()}
