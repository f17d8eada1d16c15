"""Choose the mapping of a group: the cheapest that fits, by the simulator's own prices.

All tilings under all loop orders and residencies are bounded first, as if every PE were always
busy. The array's own model, which is dearer, then prices the largest tile of each split of the
channels and rows, and from there the most promising ones in rounds: a tile uses the array no better
than a larger one of the same split. Finalists are priced with the smaller tiles at loops' ends.

Of those within a few percent of the fastest, the ones with the fewest bytes from DRAM, code
included, are looked at, and one that goes over the map's rows outermost is taken: then the next
layer can begin with the first rows.
"""

from functools import reduce
from itertools import takewhile
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from dnncc.isa.distinct import distinct
from dnncc.targets import dataflow

from .array import array_parts, macs, uneven
from .asking import Asking, alone
from .beside import CODE_BYTES, Beside, Common, beside, common
from .buffers import Buffers, footprint, slots, within
from .cost import Problem, transfers
from .mapping import Mapping
from .space import Bools, Choice, boxes, choices, grid, product_of, trips
from .workload import Workload

Ints = npt.NDArray[np.int64]
Steps = dict[str, Ints]

CYCLE_SLACK = 1.02
"""How much slower a candidate may be than the fastest, to be taken for its fewer bytes."""

BYTE_SLACK, LANES_SLACK, CODE_SLACK, FEW = 1.02, 1.15, 1.25, 8
"""How many more bytes and instructions tiles of rows are worth, without the array a few rows of
halo, too; a few are nothing."""

STREAMED = 8
"""Tiles of rows beyond which more of them are no better for the next layer."""

ALONG = {"n", "q"}
"""Loops along which a smaller tile uses the array no better. Rows are not: they are what row
stationary folds into sets."""

UNEVEN, FINALISTS = 1.15, 48
"""How much slower candidates seem that may be the fastest, as all of their tiles are priced at full
size before the last; and how many tilings are looked at so closely."""

ROUNDS = 8
LENIENCE = 0.95
"""Tiles that divide better than a larger one may use the array so much better."""


class NoMapping(Exception):
    """Not even the smallest tiles can be taken; the text says why."""


class NoRoom(NoMapping):
    """It is a scratchpad that is too small."""


class Pool(NamedTuple):
    """Candidates under several choices, which fit: columns of one length. `tile` is a row of the
    tilings; `array` has a row for each of these: `array_cycles`, or a bound."""

    choice: Ints
    tile: Ints
    array: Ints
    beside: Beside

    @property
    def cycles(self) -> Ints:
        return self.beside.with_array(*self.array[self.tile].T)


class Found(NamedTuple):
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
    mesh, legal, steps = space(problem)
    pool = fitting(problem, options, mesh, legal)
    pool = yield from priced(problem, pool, steps, limit, rounds)
    pool = yield from refined(problem, pool, steps)
    slack = BYTE_SLACK if problem.load.inner else LANES_SLACK
    best = preferred(pool, streams(problem.load, options, steps), slack)
    return found(problem, options, pool, steps, best)


def found(problem: Problem, options: list[Choice], pool: Pool, steps: Steps, row: int) -> Found:
    chosen = {v: int(s[pool.tile[row]]) for v, s in steps.items()}
    mapping = to_mapping(problem, options[int(pool.choice[row])], chosen)
    array = int(pool.array[pool.tile[row], 0])
    return Found(mapping, int(pool.cycles[row]), array, int(pool.beside.bytes[row]))


def options_of(problem: Problem) -> list[Choice]:
    """Where operands and psums share a memory, one can be worth the room of another's next tile."""
    psum, ifmap = (problem.target.memory_for(kind) for kind in ("psum", "ifmap"))
    lone = problem.load.psum is not None and psum == ifmap
    return list(choices(problem.load, problem.given, lone))


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
    outside = (product_of(count, takewhile("p".__ne__, o.order)) for o in options)
    return np.array([np.where(before == 1, rows, 1) for before in outside])


def space(problem: Problem) -> tuple[Steps, Bools, Steps]:
    """All tile sizes as a mesh, which of its points are legal, and these as columns."""
    mesh = grid(problem.load, problem.given, problem.rows)
    shape = np.broadcast_shapes(*(s.shape for s in mesh.values()))
    legal = np.broadcast_to(boxes(problem.load, mesh) & runnable(problem, mesh), shape)
    return mesh, legal, {v: np.broadcast_to(s, shape)[legal] for v, s in mesh.items()}


def fitting(problem: Problem, options: list[Choice], mesh: Steps, legal: Bools) -> Pool:
    """What is bounded, if there is anything. Raises NoMapping."""
    pool = bounded(problem, options, mesh, legal)
    if not len(pool.choice):
        raise hindrance(problem)
    return pool


def bounded(problem: Problem, options: list[Choice], mesh: Steps, legal: Bools) -> Pool:
    """Everything legal that fits, as if every PE were always busy.

    What depends on some loops only is computed once for their steps, not for each tiling; and what
    choices have in common once for those that differ in slots only.
    """
    least = macs(problem.load) // problem.target.pes
    floor = np.full((np.count_nonzero(legal), 2), least)
    found: list[tuple[Ints, Ints, Beside]] = []
    each = transfers(problem, options, mesh)
    shared: dict[tuple[tuple[str, ...], ...], Common] = {}
    buffers: Buffers = {}
    for number, choice in enumerate(options):
        used = footprint(problem, choice, mesh, buffers)
        fits = legal & within(problem, used, 1)
        alike = choice.order, choice.resident
        if alike not in shared:
            shared[alike] = common(problem, choice, mesh, each)
        wide = beside(problem, choice, mesh, within(problem, used, 2), shared[alike])
        more = Beside(*(np.broadcast_to(column, legal.shape)[fits] for column in wide))
        rows = np.flatnonzero(fits[legal])
        found.append((np.full(len(rows), number), rows, more))
    choice_of, tile, more_of = zip(*found, strict=True)
    columns = map(np.concatenate, zip(*more_of, strict=True))
    return Pool(np.concatenate(choice_of), np.concatenate(tile), floor, Beside(*columns))


def priced(problem: Problem, pool: Pool, steps: Steps, limit: int, rounds: int) -> Asking[Pool]:
    """Only what the array's model has priced, best first as far as its bounds say; everything, if
    the array has nothing to do."""
    if not problem.load.inner:
        return pool
    split = channel_split(steps)
    known = np.zeros(len(split), np.bool_)
    ratio = np.zeros(len(split))
    array = pool.array.copy()
    new = first_of_each(pool, split, 4 * limit)
    for _ in range(rounds):
        array[new] = yield from asked_cycles(problem, {v: s[new] for v, s in steps.items()})
        known[new] = True
        used = array[new, 0] / np.maximum(pool.array[new, 0], 1)
        raise_bounds(ratio, new, used, split, steps)
        bounds = (pool.array * ratio[:, None]).astype(np.int64)
        array = np.where(known[:, None], array, bounds)
        pool, cycles = near(pool, array, known)
        new = promising(pool, cycles, known, max(limit // 2, 1))
        if not len(new):
            break
    return taken(pool._replace(array=array), known[pool.tile])


def taken(pool: Pool, rows: Bools) -> Pool:
    """Some of its candidates."""
    more = Beside(*(column[rows] for column in pool.beside))
    return Pool(pool.choice[rows], pool.tile[rows], pool.array, more)


def near(pool: Pool, array: Ints, known: Bools) -> tuple[Pool, Ints]:
    """Without the tiles that no choice brings near the fastest that is known, and the cycles of
    what is left: bounds only rise, and the fastest only gets faster."""
    cycles = pool._replace(array=array).cycles
    best = cycles[known[pool.tile]].min(initial=np.iinfo(np.int64).max)
    kept = np.zeros(len(array), np.bool_)
    kept[pool.tile[cycles <= CYCLE_SLACK * best]] = True
    rows = kept[pool.tile]
    return taken(pool, rows), cycles[rows]


def channel_split(steps: Steps) -> Ints:
    """A number for each combination of tile sizes of groups, channels and rows."""
    split = np.zeros_like(next(iter(steps.values())))
    for var in (v for v in steps if v not in ALONG):
        sizes, index = np.unique(steps[var], return_inverse=True)
        split = split * len(sizes) + index
    return split


def first_of_each(pool: Pool, split: Ints, most: int) -> Ints:
    """The largest tile of each split, which takes the least code; of the most promising splits."""
    cycles = pool.cycles
    rows = least(split[pool.tile], pool.beside.code, cycles)
    return distinct(pool.tile[rows[np.argsort(cycles[rows], kind="stable")[:most]]])


def least(split: Ints, *keys: Ints) -> Ints:
    """For each number in `split` the row of the least keys, the first key deciding first, and the
    first row among equals."""
    rows = np.arange(len(split))
    for key in (*keys, rows):
        lowest = np.full(int(split.max()) + 1, np.iinfo(np.int64).max)
        np.minimum.at(lowest, split[rows], key[rows])
        rows = rows[key[rows] == lowest[split[rows]]]
    return rows[np.argsort(split[rows])]


def raise_bounds(
    ratio: npt.NDArray[np.float64],
    new: Ints,
    found: npt.NDArray[np.float64],
    split: Ints,
    steps: Steps,
) -> None:
    """In place: a tile that is no larger than one of `new` uses the array no better, but for the
    lenience; `found` are their cycles in multiples of the least possible."""
    row, of = same_split(split, new)
    below = np.ones(len(row), np.bool_)
    for var in ALONG.intersection(steps):
        below &= steps[var][row] <= steps[var][new[of]]
    np.maximum.at(ratio, row[below], LENIENCE * found[of[below]])


def same_split(split: Ints, new: Ints) -> tuple[Ints, Ints]:
    """All pairs of a tile, and the place in `new` of one of the same split."""
    order = np.argsort(split, kind="stable")
    begin, end = (np.searchsorted(split[order], split[new], side) for side in ("left", "right"))
    of = np.repeat(np.arange(len(new)), end - begin)
    return order[np.arange(len(of)) + (end - np.cumsum(end - begin))[of]], of


def promising(pool: Pool, cycles: Ints, known: Bools, most: int) -> Ints:
    """Tiles that are not known and may be faster than the best that is, the lowest bounds first."""
    sure = known[pool.tile]
    best = cycles[sure].min() if sure.any() else np.iinfo(np.int64).max
    rows = np.flatnonzero(~sure & (cycles < best))
    tiles = pool.tile[rows[np.lexsort((pool.beside.bytes[rows], cycles[rows]))]]
    _, first = np.unique(tiles, return_index=True)
    return tiles[np.sort(first)[:most]]


def array_cycles(problem: Problem, steps: Steps) -> Ints:
    return alone(asked_cycles(problem, steps), problem.target, fixed(problem))


def asked_cycles(problem: Problem, steps: Steps) -> Asking[Ints]:
    """Cycles of the array over all tiles, were they all of full size: int64[tiles, 2]: of all of
    them back to back, and the sum of those of each alone, in which it holds its buffers."""
    total = np.zeros((len(next(iter(steps.values()))), 2), np.int64)
    for part in array_parts(problem.load, steps):
        phases = yield part.work
        held = phases.cycles * part.tiles
        total = total + np.stack((phases.repeated(part.tiles), held), axis=-1)
    return total


def refined(problem: Problem, pool: Pool, steps: Steps) -> Asking[Pool]:
    """The candidates that can be the fastest, the smaller tiles at the ends of loops priced, too;
    of cascades all, as they were."""
    if len(problem.load.on_array()) != 1:
        return pool
    cycles = pool.cycles
    rows = np.argsort(cycles, kind="stable")
    rows = rows[cycles[rows] <= UNEVEN * cycles[rows[0]]]
    tiles = pool.tile[rows][np.sort(np.unique(pool.tile[rows], return_index=True)[1])][:FINALISTS]
    array = pool.array.copy()
    array[tiles] = yield from exact_cycles(problem, {v: s[tiles] for v, s in steps.items()})
    return taken(pool._replace(array=array), np.isin(pool.tile, tiles))


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
    one = {v: np.array([s]) for v, s in steps.items()}
    count = trips(problem.load, one)
    buffers = (a for a in problem.load.accesses() if not a.within)
    room = {a.role: int(slots(problem, a, choice, count).max()) for a in buffers}
    order = tuple(v for v in choice.order if count[v][0] > 1)
    return Mapping(steps, order, choice.resident, room, dict(problem.given.array))


def footprint_of(problem: Problem, mapping: Mapping) -> dict[str, int]:
    """Bytes of each scratchpad that its tiles take."""
    choice = Choice(mapping.order, mapping.resident, 1, mapping.slots)
    used = footprint(problem, choice, {v: np.array([s]) for v, s in mapping.steps.items()})
    return {memory: int(np.max(taken)) for memory, taken in used.items()}


def fixed(problem: Problem) -> Ints:
    return dataflow.fixed(problem.target, problem.given.array)


def runnable(problem: Problem, steps: Steps) -> Bools:
    """The tilings that the array can run with the parameters that are given."""
    if not problem.given.array:
        return np.ones((), np.bool_)
    least, model = np.maximum(fixed(problem), 1), dataflow.model(problem.target)
    parts = array_parts(problem.load, steps)
    able = (model.legal(problem.target, part.work, least) for part in parts)
    return reduce(np.logical_and, able, np.ones((), np.bool_))


def hindrance(problem: Problem) -> NoMapping:
    """Why not even the smallest tiles, of one index where nothing is given, can be taken."""
    for memory, need in smallest(problem).items():
        if need > problem.free[memory]:
            room = problem.free[memory]
            return NoRoom(f"its smallest tile needs {need} bytes of '{memory}', which has {room}")
    steps = smallest_steps(problem)
    parts = array_parts(problem.load, steps)
    if not parts or not problem.given.array:
        return NoMapping("no tiling fits the instruction's fields")
    model, least = dataflow.model(problem.target), np.maximum(fixed(problem), 1)
    tiles = (dataflow.Work.from_table(part.work.table()[0]) for part in parts)
    broken = next(filter(None, (model.explain(problem.target, t, least) for t in tiles)), "")
    return NoMapping(broken or "no tile fits both memories and array")


def smallest(problem: Problem) -> dict[str, int]:
    """Bytes of each scratchpad that the smallest tiles take, single-buffered."""
    given = problem.given
    order = tuple(problem.load.dims) if given.order is None else given.order
    choice = Choice(order, given.whole or (), given.depth or 1, given.slots)
    used = footprint(problem, choice, smallest_steps(problem))
    return {m: int(np.max(b)) for m, b in used.items()}


def smallest_steps(problem: Problem) -> Steps:
    given, dims = problem.given, problem.load.dims
    return {v: np.array([given.step(v, extent) or 1]) for v, extent in dims.items()}
