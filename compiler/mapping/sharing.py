"""Two groups at work at once: how they share the memories, and what they take.

The steps of the second stand among those of the first (codegen/interleave.py), which makes what it
reads: both go over rows in their outermost loop.
"""

from math import ceil
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from msgspec.structs import replace

from ..ir.graph import Node
from ..ir.tile import Range
from ..memory.lifetimes import storage
from .cost import Problem
from .lanes import fewest_vector_cycles
from .mapping import Priced
from .smallest import smallest

PARTS, SEVERAL = 8, 3
"""In how many parts the memory of ifmaps is shared; and tiles of which there must be room."""

WORTH = 0.1
"""Of the cycles of both, what it saves at least: how they wait for each other in queues is not
estimated."""

BUSY = 0.9
"""Of its cycles, those on the array of a group that does not wait for memory."""

RESULTS, CONSTANTS = 1 / 2, 3 / 4
"""Of the memories of results and of weights, what the first has."""

ROWS = ("g", "n", "p", "q", "k", "c"), ("g", "n", "p", "k", "q", "c")
"""Orders of loops in which rows are done one after the other."""

Ints = npt.NDArray[np.int64]
Key = tuple[Any, ...]
Known = dict[Key, Priced]
Asked = tuple[Node, Problem]


class Pair(NamedTuple):
    """A convolution, and a group that works on its results, each with what is asked of it."""

    first: Asked
    second: Asked

    @property
    def names(self) -> set[str]:
        return {node.outputs[0] for node, _ in self}


class Times(NamedTuple):
    """What is known of groups, by what is asked of them: mappings and their cycles, and the fewest
    cycles of the array."""

    found: Known
    array: dict[Key, int]

    def of(self, asked: Asked) -> int:
        return self.found[asked[1].key].cycles

    def apart(self, pair: Pair) -> int:
        return sum(map(self.of, pair))

    def least(self, pair: Pair) -> int:
        """Of both side by side: one after the other on the array, and in the lanes."""
        array = sum(self.array[problem.key] for _, problem in pair)
        lanes = sum(fewest_vector_cycles(problem.load, problem.target) for _, problem in pair)
        return max(array, lanes)

    def saved(self, pair: Pair) -> float:
        """At most, if each had all of the memories."""
        return self.apart(pair) - max(self.least(pair), *map(self.of, pair))


def promising(wholes: list[Pair], alone: Times) -> list[Pair]:
    """Those that could save enough, most first; each group is in one. The second, which has the
    smaller part of memory, is not the longer one, nor does it keep the array busy."""
    found: list[Pair] = []
    taken: set[str] = set()
    for pair in sorted(wholes, key=alone.saved, reverse=True):
        waits = alone.array[pair.second[1].key] < BUSY * alone.of(pair.second)
        longer = waits and alone.of(pair.first) >= alone.of(pair.second)
        enough = longer and alone.saved(pair) > WORTH * alone.apart(pair)
        if enough and taken.isdisjoint(pair.names):
            found.append(pair)
            taken |= pair.names
    return found


def shares(pair: Pair, alone: Times) -> list[int]:
    """Parts of the memory of ifmaps that the second could have: the fewest in which it has several
    tiles, twice as many, half of it, somewhat more, and such that it takes about as long as the
    first."""
    (_, second), half = pair.second, PARTS // 2
    memory = second.target.memory_for("ifmap").name
    least = ceil(SEVERAL * PARTS * smallest(second)[memory] / second.free[memory])
    even = ceil(PARTS * alone.of(pair.second) / alone.of(pair.first))
    wanted = {least, 2 * least, max(even, least), half, half + 1}
    return sorted(wanted & set(range(1, half + 2)))


def sharing(pair: Pair, parts: int) -> Pair:
    """Both with their parts of the memories."""
    (conv, first), (other, second) = pair
    target, mine, yours = first.target, dict(first.free), dict(second.free)
    ifmaps, results, weights = (target.memory_for(k).name for k in ("ifmap", "ofmap", "weight"))
    yours[ifmaps] = parts * (yours[ifmaps] // PARTS)
    mine[ifmaps] -= yours[ifmaps]
    for memory, share in ((results, RESULTS), (weights, CONSTANTS)):
        mine[memory] = int(mine[memory] * share)
        yours[memory] -= mine[memory]
    asked = replace(in_rows(first), free=mine), replace(in_rows(second), free=yours)
    return Pair((conv, asked[0]), (other, asked[1]))


def in_rows(problem: Problem) -> Problem:
    load = problem.load
    orders = tuple(tuple(v for v in order if v in load.dims) for order in ROWS)
    return replace(problem, load=replace(load, orders=orders))


def single_rows(shared: Pair, known: Known) -> list[Pair]:
    """The same with tiles of a single row of the second, unless its tiles are known to be such."""
    node, problem = shared.second
    if known[problem.key].mapping.steps["p"] == 1:
        return []
    load = replace(problem.load, single=(*problem.load.single, "p"))
    return [Pair(shared.first, (node, replace(problem, load=load)))]


def are_loaded_once(asked: Asked, known: Times) -> bool:
    """Whether it keeps its constants: loads of these stand where they are used, which is too late
    where what is before them is another group's."""
    problem = asked[1]
    mapping, dims = known.found[problem.key].mapping, problem.load.dims
    fixed = [a for a in problem.load.inputs if a.tensor in problem.graph.constants]
    moved = (a.variables() for a in fixed if a.role not in mapping.resident)
    return all(mapping.steps[v] == dims[v] for v in frozenset().union(*moved))


def side_by_side(shared: Pair, pair: Pair, known: Times) -> float:
    """Cycles of both: each tile of rows of the second begins when the one before is done, and all
    tiles of the first that it reads."""
    (conv, first), (_, second) = shared
    made, done = (known.found[p.key].mapping.steps["p"] for p in (first, second))
    high, rows = reads_to(second, storage(first.graph, conv.outputs[0]), done), first.load.dims["p"]
    ready = np.minimum(-(-high // made) * made, rows) / rows * known.of(shared.first)
    each = known.of(shared.second) / len(ready)
    return max(known.least(pair), float(np.max(ready + each * np.arange(len(ready), 0, -1))))


def reads_to(problem: Problem, root: str, step: int) -> Ints:
    """Behind the last row of a storage that each tile of `step` rows reads."""
    load, graph = problem.load, problem.graph
    read = (a for a in load.inputs if a.tensor not in graph.constants)
    box = next(a.box for a in read if storage(graph, a.tensor) == root)
    low = np.arange(0, load.dims["p"], step)
    high = np.minimum(low + step, load.dims["p"])
    along = next((d for d in box if "p" in d.variables()), box[-1])
    return np.asarray(along.range({"p": Range(low, high, low // step, len(low))}).high)
