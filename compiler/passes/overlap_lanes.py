"""After it, a group may work beside the convolution before it, on what that one has stored.

Where the memory of ifmaps is less than DRAM sends in its latency, pools and small convolutions wait
for their tiles while the array is idle; larger convolutions keep it busy and leave room in memory.
So two of these share the memories, and the steps of the second stand among those of the first, as
soon as what they read is stored (codegen/interleave.py). It is done where that is estimated to save
a tenth of their cycles. Of convolutions whose results are put together, the first of such a
pair comes last.
"""

from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from operator import itemgetter

from msgspec.structs import replace

from ..ir.graph import Graph, Node
from ..mapping.bound import fewest_of
from ..mapping.cost import Problem, is_tight
from ..mapping.given import ANY, Given
from ..mapping.lowering import workload
from ..mapping.mapping import Priced
from ..mapping.nodes import assigned, meanings
from ..mapping.objective import search_for
from ..mapping.search import footprint_of
from ..mapping.sharing import (
    WORTH,
    Asked,
    Known,
    Pair,
    Times,
    are_loaded_once,
    promising,
    shares,
    sharing,
    side_by_side,
    single_rows,
)
from ..memory.lifetimes import storage
from .attach_lanes import THOROUGH, estimated, fits_in
from .choose_mapping import PRICED
from .context import Context, target_of

Fits = Callable[[Problem], bool]
Able = Callable[[Graph, Node, Node], bool]


def overlap_lanes(graph: Graph, ctx: Context) -> Graph:
    if not is_tight(target_of(ctx)):
        return graph
    for pair in given_pairs(graph, ctx, is_plain, can_move):
        graph = overlapped(graph, pair, {p.key: chosen(p, ctx) for _, p in pair})
    if ctx.effort < THOROUGH or ctx.goal != "latency":
        return graph
    wholes = list(pairs(graph, ctx))
    alone = times(wholes, ctx) if wholes else Times({}, {})
    asked = promising(wholes, alone)
    tried, known = ways(asked, alone, ctx)
    for pair, some in zip(asked, tried, strict=True):
        took = [(side_by_side(shared, pair, known), shared) for shared in some]
        least, best = min(took, key=itemgetter(0), default=(0.0, None))
        if best and least < (1 - WORTH) * alone.apart(pair):
            graph = overlapped(graph, best, known.found)
    return graph


def ways(some: list[Pair], alone: Times, ctx: Context) -> tuple[list[list[Pair]], Times]:
    """By pair, ways in which both can share the memories, and what is known of them. Tiles of a
    single row are asked for where higher ones seem better."""
    first = [able(sharing(pair, parts) for parts in shares(pair, alone)) for pair in some]
    known = estimated(chain.from_iterable(first), ctx)
    tried = [
        able(w for shared in of for w in (shared, *single_rows(shared, known))) for of in first
    ]
    known |= estimated(chain.from_iterable(tried), ctx)
    times = Times(known, alone.array)
    return [[w for w in of if are_loaded_once(w.second, times)] for of in tried], times


def able(some: Iterable[Pair]) -> list[Pair]:
    return [shared for shared in some if all(fits_in(problem) for _, problem in shared)]


def given_pairs(graph: Graph, ctx: Context, fits: Fits, stands: Able) -> list[Pair]:
    """Of groups that fit, where the second `stands` beside the first. Raises
    CompileError."""
    given, known = assigned(graph, ctx.mapping), meanings(graph)
    wishes = {name: wish for name, wish in given.items() if wish.beside}
    ready = plain(graph, list(known.values()) if wishes else [], ctx, fits)
    found = []
    for name, wish in wishes.items():
        other = known[wish.beside].outputs[0] if wish.beside in known else ""
        there = {name, other} <= ready.keys()
        if not there or not stands(graph, ready[other][0], ready[name][0]):
            raise wish.refusal("beside", f"it cannot work beside '{wish.beside}'")
        pair = Pair(*(with_given(ready[n], given.get(n, ANY)) for n in (other, name)))
        check_room(pair, wish, ctx)
        found.append(pair)
    return found


def with_given(asked: Asked, given: Given) -> Asked:
    return asked[0], replace(asked[1], given=given)


def chosen(problem: Problem, ctx: Context) -> Priced:
    found = search_for(ctx.goal, problem, PRICED[ctx.effort])
    return Priced(found.mapping, found.cycles)


def check_room(pair: Pair, wish: Given, ctx: Context) -> None:
    """Raises CompileError where both do not fit."""
    used = [footprint_of(problem, chosen(problem, ctx).mapping) for _, problem in pair]
    for memory, room in pair.second[1].free.items():
        need = sum(some.get(memory, 0) for some in used)
        if need > room:
            why = f"both need {need} bytes of '{memory}', which has {room}"
            raise wish.refusal("beside", why)


def pairs(graph: Graph, ctx: Context) -> Iterator[Pair]:
    """Each group with a convolution that makes its input, or a part of it."""
    given = assigned(graph, ctx.mapping)
    free = [n for n in graph.nodes if n.op == "group" and n.outputs[0] not in given]
    ready = plain(graph, free, ctx, is_plain)
    for second in ready.values():
        read = {storage(graph, name) for name in second[0].inputs if name not in graph.constants}
        for first in ready.values():
            made = storage(graph, first[0].outputs[0]) in read and first[1].load.inner
            if made and can_move(graph, first[0], second[0]):
                yield Pair(first, second)


def plain(graph: Graph, nodes: Iterable[Node], ctx: Context, fits: Fits) -> dict[str, Asked]:
    """What is asked about those that can be in a pair, by name."""
    asked, target = {}, target_of(ctx)
    for node in (n for n in nodes if "cascade" not in n.attrs):
        load = workload(node, graph, target)
        asked[node.outputs[0]] = node, Problem(load, graph, target, node.attrs["free"])
    return {name: one for name, one in asked.items() if fits(one[1])}


def is_plain(problem: Problem) -> bool:
    """Whether all that it moves comes from DRAM and goes there, one map alone, as loads that share
    an engine would wait for each other's tiles; and rows can be its outermost loop."""
    load = problem.load
    maps = [a for a in load.inputs if a.tensor not in problem.graph.constants]
    moved = all(map(problem.moves, (*load.inputs, load.result))) and problem.tight
    once = [spec.op for spec in load.inner] in ([], ["tensor"]) and not load.orders
    return moved and once and len(maps) == 1 and load.dims.get("p", 1) > 1


def can_move(graph: Graph, first: Node, second: Node) -> bool:
    """Whether one of them can stand beside the other: no group between reads what the first makes,
    or makes what the second reads."""
    begin, end = graph.nodes.index(first), graph.nodes.index(second)
    return begin < end and (is_unread(graph, begin, end) or is_ready(graph, begin, end))


def is_unread(graph: Graph, begin: int, end: int) -> bool:
    root = storage(graph, graph.nodes[begin].outputs[0])
    between = [n for n in graph.nodes[begin + 1 : end] if n.op in ("group", "host")]
    return not any(root == storage(graph, i) for n in between for i in n.inputs if i)


def is_ready(graph: Graph, begin: int, end: int) -> bool:
    made = {name for n in graph.nodes[begin + 1 : end] for name in n.outputs}
    return made.isdisjoint(graph.nodes[end].inputs)


def times(wholes: list[Pair], ctx: Context) -> Times:
    loads = {problem.key: problem.load for _, problem in chain.from_iterable(wholes)}
    return Times(estimated(wholes, ctx), fewest_of(loads, target_of(ctx), ctx.known))


def overlapped(graph: Graph, pair: Pair, known: Known) -> Graph:
    """With the second beside the first, and right behind it."""
    (conv, _), (other, _) = pair
    first, second = (
        replace(node, attrs={**node.attrs, "mapping": known[problem.key].mapping.to_attr()})
        for node, problem in pair
    )
    second = replace(second, attrs={**second.attrs, "beside": True})
    begin, end = graph.nodes.index(conv), graph.nodes.index(other)
    before, between, after = (
        graph.nodes[:begin],
        graph.nodes[begin + 1 : end],
        graph.nodes[end + 1 :],
    )
    if is_unread(graph, begin, end):
        views = next(
            (i for i, n in enumerate(between) if set(n.inputs) & set(conv.outputs)), len(between)
        )
        nodes = (*before, *between[:views], first, *between[views:], second, *after)
    else:
        nodes = (*before, first, second, *between, *after)
    return replace(graph, nodes=nodes)
