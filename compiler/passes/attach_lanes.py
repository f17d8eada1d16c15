"""After it, lanes may work tile by tile for a convolution: on its input, or on what it makes.

The input is quantised or pooled, the result is pooled. They are one group where that is estimated
to save a twentieth of their cycles, or a third of what the lanes take alone: what lies between them
never is in a memory as a whole, and the lanes work on one tile while the array does on the next.
Halo is computed again, but for rows that the windows of two tiles share where that is estimated to
be faster: then the group is `carried`, and these stay in a ring. Nodes whose mapping is given are
attached, and carried, only where that says so.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain
from typing import NamedTuple

from msgspec.structs import replace

from dnncc.targets import Target

from ..ir.graph import Graph, Node, one_group
from ..mapping.cache import open_cache
from ..mapping.cost import Problem
from ..mapping.given import Given
from ..mapping.lowering import OPENS, POOLS, PREPARES, count_attached, workload
from ..mapping.nodes import assigned
from ..mapping.smallest import smallest
from ..ops.pool import carries
from .cascade import Links, without_views
from .choose_mapping import Known, chosen_for
from .context import Context, target_of
from .place_buffers import place_buffers

THOROUGH = 2
"""The effort from which on it is tried."""

WORTH, LEAST = 0.05, 0.02
"""Of the cycles of both, what one saves at least; less than the first is not worth a larger nest,
if it is not a third of what the lanes take alone."""

Fits = Callable[[Node, Node], bool]
Rooms = Mapping[str, Mapping[str, int]]
Asked = tuple[Node, Problem]


class Pair(NamedTuple):
    """Two groups, and what they may be as one."""

    first: Asked
    second: Asked
    wholes: tuple[Asked, ...]

    def all(self) -> tuple[Asked, ...]:
        return self.first, self.second, *self.wholes


def attach_lanes(graph: Graph, ctx: Context) -> Graph:
    graph = without_views(merged(graph, list(forced(graph, ctx))))
    if ctx.effort < THOROUGH:
        return graph
    for fits in (is_pooled, is_prepared):
        pairs = list(neighbours(graph, ctx, fits))
        if pairs:
            graph = attached(graph, ctx, pairs)
    return graph


def forced(graph: Graph, ctx: Context) -> Iterator[Node]:
    """The groups that are given as one. Raises CompileError."""
    links, given = Links(graph, set()), assigned(graph, ctx.mapping)
    for node in graph.nodes:
        wish = given.get(node.outputs[0])
        if wish and wish.attached:
            yield whole_of(followed(node, wish, links), wish, graph)


def whole_of(nodes: list[Node], wish: Given, graph: Graph) -> Node:
    """As one, as is given."""
    whole = one_group(nodes)
    if wish.carried and not can_carry(nodes[-1], graph):
        raise wish.refusal("carried", "no rows are shared that tiles could hand on")
    return carried(whole) if wish.carried else whole


def can_carry(last: Node, graph: Graph) -> bool:
    """Whether the last of the groups that are made one begins with a pool that shares rows, or has
    one behind its convolution that hands them on."""
    first = last.body[0]
    return "carried" in last.attrs or first.op in POOLS and carries(first, graph.tensors)


def carried(whole: Node) -> Node:
    return replace(whole, attrs={**whole.attrs, "carried": True})


def followed(node: Node, wish: Given, links: Links) -> list[Node]:
    """As many as are given, from this one on."""
    some = [node]
    while len(some) < wish.attached:
        users = links.users.get(some[-1].outputs[0], [])
        if len(users) != 1 or users[0].op != "group" or not links.only(some[-1], users[0]):
            break
        some.append(users[0])
    if not len(some) == wish.attached == count_attached(one_group(some).body):
        raise wish.refusal("attached", "what follows is not lanes for it alone, or it for them")
    return some


def is_pooled(first: Node, second: Node) -> bool:
    pool, *rest = (node.op for node in second.body)
    return first.body[0].op in OPENS and pool in POOLS and rest in ([], ["lut"])


def is_prepared(first: Node, second: Node) -> bool:
    return len(first.body) == 1 and first.body[0].op in PREPARES and second.body[0].op in OPENS


def neighbours(graph: Graph, ctx: Context, fits: Fits) -> Iterator[tuple[Node, Node]]:
    """Groups of which one hands all that it makes to the other, and which may be one."""
    links, made = Links(graph, set(assigned(graph, ctx.mapping))), graph.producers()
    for second in graph.nodes:
        first = made.get(second.body[0].inputs[0]) if second.op == "group" else None
        if first is None or first.op != "group" or "cascade" in {*first.attrs, *second.attrs}:
            continue
        if fits(first, second) and links.only(first, second) and links.free(first, second):
            yield first, second


def attached(graph: Graph, ctx: Context, pairs: list[tuple[Node, Node]]) -> Graph:
    """With those pairs as one that are worth it."""
    tried = asked(graph, ctx, pairs)
    known = estimated((pair.all() for pair in tried), ctx)
    chosen = [fastest(pair, known)[0] for pair in tried if saving(pair, known)]
    return without_views(merged(graph, chosen))


def asked(graph: Graph, ctx: Context, pairs: Iterable[tuple[Node, Node]]) -> list[Pair]:
    """What is asked about those pairs whose tiles fit in memory as one."""
    placed, target = place_buffers(graph, ctx), target_of(ctx)
    free = {node.outputs[0]: node.attrs["free"] for node in placed.nodes if node.op == "group"}
    found = [asked_of(placed, pair, free, target) for pair in pairs]
    return [pair for pair in found if pair.wholes]


def estimated(some: Iterable[Iterable[Asked]], ctx: Context) -> Known:
    cache = open_cache(ctx.cache, target_of(ctx), ctx.effort, ctx.goal)
    known = chosen_for(chain.from_iterable(some), ctx, cache)
    cache.save()
    return known


def asked_of(graph: Graph, pair: tuple[Node, Node], free: Rooms, target: Target) -> Pair:
    """The two groups and both as one, with the room that their tiles have."""
    rooms = [free[node.outputs[0]] for node in pair]
    both = {memory: min(room[memory] for room in rooms) for memory in rooms[0]}

    def problem(node: Node, room: Mapping[str, int]) -> Asked:
        return node, Problem(workload(node, graph, target), graph, target, room)

    whole = one_group(pair)
    wholes = [problem(whole, both)]
    if can_carry(pair[1], graph):
        wholes.append(problem(carried(whole), both))
    first, second = map(problem, pair, rooms)
    return Pair(first, second, tuple(one for one in wholes if fits_in(one[1])))


def fastest(pair: Pair, known: Known) -> Asked:
    """Of what they may be as one."""
    return min(pair.wholes, key=lambda one: known[one[1].key].cycles)


def fits_in(problem: Problem) -> bool:
    return all(need <= problem.free[memory] for memory, need in smallest(problem).items())


def saving(pair: Pair, known: Known) -> float:
    """The cycles that are saved by making one group of two; 0 where that is not worth it."""
    some = pair.first, pair.second, fastest(pair, known)
    first, second, whole = (known[problem.key].cycles for _, problem in some)
    both, saved = first + second, first + second - whole
    return saved if saved > (LEAST if 3 * saved > min(first, second) else WORTH) * both else 0


def merged(graph: Graph, wholes: list[Node]) -> Graph:
    """With these groups in place of the last of those that they consist of."""
    inside = {name for whole in wholes for node in whole.body for name in node.outputs}
    last = {whole.outputs[0]: whole for whole in wholes}
    nodes = (last.get(n.outputs[0], n) for n in graph.nodes)
    kept = (n for n in nodes if n.outputs[0] in last or n.outputs[0] not in inside)
    return replace(graph, nodes=tuple(kept))
