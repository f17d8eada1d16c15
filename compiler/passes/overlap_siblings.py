"""After it, two convolutions of one map may work side by side.

One keeps the array busy, the other one the lanes or a link: a convolution 1x1 beside one 3x3, as in
the modules of SqueezeNet and of Inception. They share the memories, half each, and the steps of the
second stand evenly among those of the first, the longer one (codegen/interleave.py). It is done
where maps go through DRAM, so that neither waits for room that a map on chip takes, and where it is
estimated to save a twelfth of their cycles. Constants of groups that are side by side do not come
ahead (`prefetch`), so they must be a small part of what is moved.
"""

from collections.abc import Iterable, Iterator
from itertools import combinations

from msgspec.structs import replace

from dnncc.targets import Target

from ..ir.graph import Graph, Node
from ..mapping.bound import fewest_of
from ..mapping.cost import Problem, is_tight
from ..mapping.nodes import assigned
from ..mapping.sharing import Key, Known, Pair, Times
from ..memory.lifetimes import storage
from .attach_lanes import THOROUGH, estimated, fits_in
from .choose_mapping import problems_of
from .context import Context, target_of
from .overlap_lanes import chosen, given_pairs, plain

Nodes = tuple[Node, ...]

WORTH = 1 / 12
"""Of the cycles of both, what it saves at least."""

GROWN = 0.1
"""Of the cycles of both, what smaller tiles cost at most: how such tiles wait for each other is not
estimated."""

HELD_UP = 1.15
"""Of the cycles that loads and stores of both hold a link, what these take: loads of one wait for
room behind those of the other."""

CONSTANTS = 1 / 8
"""Of the cycles of both, side by side, what their constants take on the links at most."""


def overlap_siblings(graph: Graph, ctx: Context) -> Graph:
    target = target_of(ctx)
    if is_tight(target):
        return graph
    for pair in given_pairs(graph, ctx, is_lone, can_stand):
        graph = beside(graph, pair, {p.key: chosen(p, ctx) for _, p in pair})
    if ctx.effort < THOROUGH or ctx.goal != "latency" or not through_dram(target):
        return graph
    wholes = list(siblings(graph, ctx))
    array = fewest_of({p.key: p.load for pair in wholes for _, p in pair}, target, ctx.known)
    wholes = [pair for pair in wholes if moves_few_constants(pair, Times({}, array))]
    return overlapped(graph, ctx, wholes, array) if wholes else graph


def overlapped(graph: Graph, ctx: Context, wholes: list[Pair], array: dict[Key, int]) -> Graph:
    """With those of the pairs side by side that are worth it. All groups are asked about at once,
    as they will be when their mappings are chosen: few take almost as long as many."""
    alone = Times(estimated([dict(problems_of(graph, ctx)).values()], ctx), array)
    tried = [(pair, half_each(pair)) for pair in promising(wholes, alone)]
    tried = [(pair, both) for pair, both in tried if all(fits_in(one) for _, one in both)]
    known = estimated((both for _, both in tried), ctx)
    for pair, both in tried:
        stands = can_stand(graph, both.first[0], both.second[0])
        if stands and saves(both, pair, alone._replace(found=alone.found | known)):
            graph = beside(graph, both, known)
    return graph


def through_dram(target: Target) -> bool:
    """Whether no result is read on chip by the array."""
    return target.memory_for("ofmap") != target.memory_for("ifmap")


def is_lone(problem: Problem) -> bool:
    """Whether it is a convolution, and all that it moves comes from DRAM and goes there, as all
    maps do."""
    load = problem.load
    moved = all(map(problem.moves, (*load.inputs, load.result))) and through_dram(problem.target)
    return moved and [spec.op for spec in load.inner] == ["tensor"]


def siblings(graph: Graph, ctx: Context) -> Iterator[Pair]:
    """Convolutions that read the same storage."""
    given = assigned(graph, ctx.mapping)
    free = [n for n in graph.nodes if n.op == "group" and n.outputs[0] not in given]
    readers: dict[str, list[tuple[Node, Problem]]] = {}
    for node, problem in plain(graph, free, ctx, is_lone).values():
        for root in {storage(graph, i) for i in node.inputs if i not in graph.constants}:
            readers.setdefault(root, []).append((node, problem))
    pairs = (Pair(*two) for some in readers.values() for two in combinations(some, 2))
    yield from {frozenset(pair.names): pair for pair in pairs}.values()


def promising(wholes: list[Pair], alone: Times) -> Iterator[Pair]:
    """Those that could save enough, the longer group of each first; those that save most before
    others. Each group is in one."""
    taken: set[str] = set()
    for pair in sorted(wholes, key=lambda pair: least(pair, alone) - alone.apart(pair)):
        enough = least(pair, alone) < (1 - WORTH) * alone.apart(pair)
        if enough and taken.isdisjoint(pair.names):
            taken |= pair.names
            yield Pair(*sorted(pair, key=alone.of, reverse=True))


def half_each(pair: Pair) -> Pair:
    """With half of the memories for each."""
    rooms = [problem.free for _, problem in pair]
    half = {memory: min(room[memory] for room in rooms) // 2 for memory in rooms[0]}
    return Pair(*((node, replace(problem, free=half)) for node, problem in pair))


def saves(both: Pair, pair: Pair, known: Times) -> bool:
    """Whether a pair saves enough with half of the memories for each."""
    apart, grown = known.apart(pair), known.apart(both) - known.apart(pair)
    takes = max(least(pair, known) + grown, *map(known.of, both))
    return grown <= GROWN * apart and takes < (1 - WORTH) * apart


def least(pair: Pair, alone: Times) -> float:
    """Cycles of both side by side: one after the other on the array, in the lanes, on each link."""
    links = HELD_UP * max(link_cycles(pair, constants=False), default=0)
    return max(alone.least(pair), links)


def moves_few_constants(pair: Pair, alone: Times) -> bool:
    return max(link_cycles(pair, constants=True), default=0) < CONSTANTS * least(pair, alone)


def link_cycles(pair: Pair, constants: bool) -> list[float]:
    """By link, what all operands of both take, if each is moved once; or their constants alone."""
    held: dict[int, float] = {}
    for problem in (problem for _, problem in pair):
        for way in problem.routes:
            if way.constant or not constants:
                tensor = problem.graph.tensors[way.access.tensor]
                cycles = tensor.size * tensor.dtype.itemsize / way.channel.bytes_per_cycle
                held[way.link] = held.get(way.link, 0) + cycles
    return list(held.values())


def beside(graph: Graph, pair: Pair, known: Known) -> Graph:
    """With the second beside the first, and right behind it."""
    first, second = (
        replace(node, attrs={**node.attrs, "mapping": known[problem.key].mapping.to_attr()})
        for node, problem in pair
    )
    second = replace(second, attrs={**second.attrs, "beside": True})
    before, between, after = cut(graph, first, second)
    together = (first, second)
    later = stays_ready(between, graph, first, second)
    middle = (*together, *between) if later else (*between, *together)
    return replace(graph, nodes=(*before, *middle, *after))


def can_stand(graph: Graph, first: Node, second: Node) -> bool:
    """Whether these can be at work at once: neither needs the other one, and one of them can be
    moved to the other."""
    _, between, _ = cut(graph, first, second)
    early, late = in_order(graph, first, second)
    apart = not reads(graph, late, [early])
    unread = not any(reads(graph, node, [early]) for node in between)
    return apart and (unread or stays_ready(between, graph, first, second))


def stays_ready(between: Nodes, graph: Graph, first: Node, second: Node) -> bool:
    """Whether nothing between them makes what the later one reads."""
    return not reads(graph, in_order(graph, first, second)[1], between)


def reads(graph: Graph, node: Node, made: Iterable[Node]) -> bool:
    """Whether a node reads what others make, or of the same storage."""
    roots = {storage(graph, name) for one in made for name in one.outputs if name}
    return any(storage(graph, name) in roots for name in node.inputs if name)


def in_order(graph: Graph, first: Node, second: Node) -> list[Node]:
    names = [node.outputs[0] for node in (first, second)]
    return [node for node in graph.nodes if node.outputs[:1] and node.outputs[0] in names]


def cut(graph: Graph, first: Node, second: Node) -> tuple[Nodes, Nodes, Nodes]:
    """The nodes before, between and behind these two, whichever comes first."""
    low, high = (graph.nodes.index(node) for node in in_order(graph, first, second))
    return graph.nodes[:low], graph.nodes[low + 1 : high], graph.nodes[high + 1 :]
