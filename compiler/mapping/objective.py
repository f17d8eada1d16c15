"""What a mapping is to make small: cycles, energy, or their product.

Energy is counted as the simulator does: the target's table, times the array's accesses in closed
form, what DMA moves on both of its sides, and what the SIMD lanes take and give.
"""

import numpy as np
import numpy.typing as npt
from msgspec.structs import replace

from dnncc.targets import dataflow
from dnncc.targets import energy as energies

from .array import array_parts
from .asking import Asking, alone
from .cost import Problem, elements, runs, stored
from .lanes import largest, pools
from .moves import moved, transfer
from .pool import CYCLE_SLACK, Ints, Pool, Steps
from .rolled import in_ring, reads_twice
from .rounds import ROUNDS, asked_cycles, everything, space
from .search import BYTE_SLACK, Found, found, options_of, searching
from .smallest import NoMapping, fixed
from .space import Choice, some, trips
from .workload import StepSpec

Floats = npt.NDArray[np.float64]

SPREAD = 4
"""How many times as many candidates are priced as for latency: what is outside the array tells
less of a candidate's energy than of its cycles."""


def search_for(goal: str, problem: Problem, limit: int) -> Found:
    """What `searching_for` finds, with the array parameters that are given."""
    return alone(searching_for(goal, problem, limit), problem.target, fixed(problem))


def searching_for(goal: str, problem: Problem, limit: int, rounds: int = ROUNDS) -> Asking[Found]:
    """The mapping that is best for a goal, "latency", "energy" or "edp". Raises NoMapping.

    The array's model prices a few times `limit` candidates, for latency in `rounds`. Where tiles
    share rows, it does so once more with these kept in a ring.
    """
    best = yield from one_search(goal, problem, limit, rounds)
    timed = goal == "latency" and problem.alone  # by rehearsal, which does not know of rings
    again = not timed and reads_twice(problem, best.mapping, best.bytes)
    ring = in_ring(problem) if again else None
    if ring is None:
        return best
    try:
        other = yield from one_search(goal, ring, limit, rounds)
    except NoMapping:
        return best
    return other if is_better(goal, other, best) else best


def is_better(goal: str, other: Found, best: Found) -> bool:
    """Whether a mapping with a ring is worth to be taken instead of another; of about the same
    cycles the one of clearly fewer bytes, but not where all of the ifmap was loaded once."""
    if goal == "latency":
        once = bool({*other.mapping.ring} & {*best.mapping.resident})
        lighter = other.bytes * BYTE_SLACK < best.bytes and not once
        slack = CYCLE_SLACK if lighter else 1 / CYCLE_SLACK
        heavier = once and other.bytes * other.cycles > best.bytes * best.cycles
        return other.cycles < slack * best.cycles and not heavier
    scores = [f.energy * (f.cycles if goal == "edp" else 1) for f in (other, best)]
    return scores[0] < scores[1]


def one_search(goal: str, problem: Problem, limit: int, rounds: int) -> Asking[Found]:
    """As `searching_for`, with or without a ring, as it is given."""
    if goal == "latency":
        return (yield from searching(problem, limit, rounds))
    options = options_of(problem)
    tiles = some(*space(problem, options))
    pool = everything(problem, options, tiles.steps)
    spent = outside_energy(problem, options, pool)
    if problem.load.inner:
        rows = promising(pool, spent, tiles.split, SPREAD * limit)
        asked, tile = np.unique(pool.tile[rows], return_inverse=True)
        steps = {v: s[asked] for v, s in pool.steps.items()}
        cycles = yield from asked_cycles(problem, steps)
        pool = Pool(pool.choice[rows], tile, cycles, pool.beside.at(rows), steps)
        spent = spent[rows] + array_energy(problem, steps)[tile]
    score = spent * pool.cycles if goal == "edp" else spent
    best = np.lexsort((pool.beside.code, pool.cycles, score))[0]
    row = found(problem, options, pool, int(best))
    return replace(row, energy=float(spent[best]))


def promising(pool: Pool, outside: Floats, split: Ints, limit: int) -> Ints:
    """Rows of the least energy outside the array, over all and in each split of the channels, on
    which most of the energy in it depends; and those of the least cycles."""
    code, cycles = pool.beside.code, pool.cycles
    frugal = np.lexsort((code, cycles, outside))
    _, first = np.unique(split[pool.tile[frugal]], return_index=True)
    each = frugal[np.sort(first)[:limit]]
    fast = np.lexsort((code, outside, cycles))
    return np.unique(np.concatenate((frugal[:limit], each, fast[:limit])))


def outside_energy(problem: Problem, options: list[Choice], pool: Pool) -> Floats:
    """Of all candidates, what DMA and SIMD lanes take."""
    total = np.zeros(len(pool.choice))
    for number in np.unique(pool.choice):
        rows = np.flatnonzero(pool.choice == number)
        columns = {v: s[pool.tile[rows]] for v, s in pool.steps.items()}
        counted = outside_words(problem, options[int(number)], columns)
        total[rows] = energies.energy(counted, problem.target)
    return total


def outside_words(problem: Problem, choice: Choice, steps: Steps) -> dict[str, Ints]:
    """Words in DRAM and in the memories beside the array, as if all tiles were of full size."""
    load, target = problem.load, problem.target
    count = trips(load, steps)
    results = stored(problem, choice, count)
    dram, glb = np.zeros_like(results), np.zeros_like(results)
    for access in filter(problem.moves, load.accesses()):
        for what, _, full, _ in moved(problem, access, choice, steps):
            bus, spad = transfer(problem, access, what, steps)
            dram = dram + energies.words(bus, target) * full
            glb = glb + energies.words(spad, target) * full
    for spec in filter(lambda spec: spec.op != "tensor", load.steps()):
        words = energies.words(vector_bytes(problem, spec, steps), target)
        glb = glb + words * runs(load, spec, choice, count)
    return {"dram": dram, "glb": glb}


def vector_bytes(problem: Problem, spec: StepSpec, steps: Steps) -> Ints:
    """Bytes that a step of the SIMD lanes takes and gives, of a tile of full size."""
    used = problem.load.used(spec)
    result = used["out"] if spec in problem.load.inner else problem.load.result
    tile = elements(result.tile_shape(steps))
    total = np.zeros_like(tile)
    for use, access in used.items():
        if access.kind == "params":
            through = elements(access.tile_shape(steps))
        elif spec.op == "pool" and use == "x":
            through = pools(problem.load, spec, largest(steps)).elements(problem.target)
        else:
            through = tile
        total = total + through * access.dtype.itemsize
    return np.asarray(total)


def array_energy(problem: Problem, steps: Steps) -> Floats:
    """What the array takes over all tiles, were they all of full size. The first tile of a sum does
    not read psums."""
    model, target = dataflow.model(problem.target), problem.target
    total = np.zeros(len(next(iter(steps.values()))))
    for work, tiles, later in array_parts(problem.load, steps):
        params = model.choose(target, work, fixed(problem))
        for accumulate, share in ((0, tiles - later), (1, later)):
            tile = replace(work, accumulate=np.full_like(work.k, accumulate))
            counted = energies.level_sums(model.accesses(target, tile, params), target)
            total += energies.energy(counted, target) * share
    return total
