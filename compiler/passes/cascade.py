"""After it, feature maps between convolutions may go from tile to tile, and never to DRAM.

Such convolutions, whose map is too large to stay on chip, are one group, a cascade. Chains of 1x1,
spatial and 1x1 convolutions are looked at, two or three of them. For latency a cascade is taken for
its fewer bytes where it is estimated to be no slower than its layers one by one, but for the slack
of the search, from -O3 on: there is little to gain, and the search takes twice its time; for other
goals where it is better by these. A node whose mapping is given is in a
cascade only where that says so.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import pairwise

from msgspec.structs import replace

from ..ir.graph import Graph, Node
from ..mapping.cascades import Option, Prices
from ..mapping.given import Given
from ..mapping.nodes import assigned
from ..memory.lifetimes import storage
from ..ops.cascade import merged, why_not
from .choose_mapping import PRICED
from .context import Context, target_of
from .place_buffers import nothing_resident, place_buffers

LONGEST = 3
THOROUGH = 3
"""The effort from which on cascades are sought for latency."""


def cascade(graph: Graph, ctx: Context) -> Graph:
    target, given = target_of(ctx), assigned(graph, ctx.mapping)
    links = Links(graph, set(given))
    forced = {name: wish for name, wish in given.items() if wish.cascade}
    nodes = list(joined(graph, forced, links))
    sought = ctx.goal != "latency" or ctx.effort >= THOROUGH
    if sought and target.memory_for("ofmap") == target.memory_for("ifmap"):
        nodes = chosen(replace(graph, nodes=tuple(nodes)), ctx, links)
    return without_views(replace(graph, nodes=tuple(nodes)))


def without_views(graph: Graph) -> Graph:
    """What does not leave its group has no place in memory."""
    ends = {name for node in graph.nodes for name in (*node.inputs, *node.outputs)}
    inside = {name for node in graph.nodes for inner in node.body for name in inner.outputs} - ends
    tensors = {k: replace(t, view=None) if k in inside else t for k, t in graph.tensors.items()}
    return replace(graph, tensors=tensors)


class Links:
    """Which neighbours may be in one cascade."""

    def __init__(self, graph: Graph, given: set[str]) -> None:
        self.graph, self.given, self.users = graph, given, graph.consumers()
        self.roots = Counter(t.view.root for t in graph.tensors.values() if t.view)

    def hands_over(self, first: Node, second: Node) -> bool:
        """Whether all that `first` makes is for the convolution of `second`."""
        bodies = [[inner.op for inner in node.body[:2]] for node in (first, second)]
        if bodies[0] != ["conv2d"] or bodies[1][:1] != ["conv2d"] or "cascade" in second.attrs:
            return False
        return self.only(first, second)

    def only(self, first: Node, second: Node) -> bool:
        """Whether all that `first` makes is for the first node of `second`."""
        (name,), graph = first.outputs, self.graph
        alone = self.users.get(name, []) == [second] and name not in graph.outputs
        own = storage(graph, name) == name and self.roots[name] == 1
        read = [(n, n.inputs.index(name)) for n in second.body if name in n.inputs]
        return alone and own and read == [(second.body[0], 0)]

    def free(self, *nodes: Node) -> bool:
        """Whether no mapping is given for them."""
        return not any(node.outputs[0] in self.given for node in nodes)


def joined(graph: Graph, forced: Mapping[str, Given], links: Links) -> Iterator[Node]:
    """The nodes, those in cascades that are given put together. Raises CompileError."""
    place = 0
    while place < len(graph.nodes):
        wish = forced.get(graph.nodes[place].outputs[0])
        count = wish.cascade.get("layers", 2) if wish else 1
        nodes = graph.nodes[place : place + count]
        yield of_given(graph, nodes, wish, links) if wish else nodes[0]
        place += len(nodes)


def of_given(graph: Graph, nodes: tuple[Node, ...], wish: Given, links: Links) -> Node:
    """A cascade that begins with the first of these nodes, as is given."""
    linked = all(links.hands_over(*pair) for pair in pairwise(nodes))
    if len(nodes) != wish.cascade.get("layers", 2) or not linked:
        raise wish.refusal("cascade", "it does not hand its result to the next node alone")
    sizes = {k: v for k, v in wish.cascade.items() if k != "layers"}
    if reason := why_not([node.body[0] for node in nodes], sizes, graph.tensors):
        raise wish.refusal("cascade", reason)
    return merged(nodes, sizes)


def chosen(graph: Graph, ctx: Context, links: Links) -> list[Node]:
    """The nodes, those in cascades that are worth it put together."""
    placed, empty = place_buffers(graph, ctx), nothing_resident(graph, ctx)
    limit = PRICED[ctx.effort]
    target, memo = target_of(ctx), (ctx.searched, ctx.known)
    prices = Prices(graph, placed, empty, target, ctx.goal, limit, *memo)
    nodes: list[Node] = []
    for run in runs(graph, placed, links):
        ctx.budget.check("cascade", ", ".join(graph.nodes[run[0]].loc))
        nodes += divided(run, prices) if len(run) > 1 else [graph.nodes[run[0]]]
    return nodes


def runs(graph: Graph, placed: Graph, links: Links) -> Iterator[list[int]]:
    """Places of the nodes, those together that hand on maps in DRAM."""
    run: list[int] = []
    for place, node in enumerate(graph.nodes):
        if run and not follows(graph.nodes[run[-1]], node, placed, links):
            yield run
            run = []
        run.append(place)
    if run:
        yield run


def follows(first: Node, second: Node, placed: Graph, links: Links) -> bool:
    if not links.hands_over(first, second) or not links.free(first, second):
        return False
    return placed.tensors[first.outputs[0]].memory == "dram"


def divided(run: list[int], prices: Prices) -> list[Node]:
    """The nodes of a run, put together as is best: by dynamic programming over its beginnings."""
    alone = prices.alone(run)
    if len(alone) < len(run):
        return [prices.graph.nodes[place] for place in run]
    best: list[tuple[float, list[Node]]] = [(0.0, [])]
    for end in range(1, len(run) + 1):
        ways = []
        for start in range(max(0, end - LONGEST), end):
            some = alone[start:end]
            option = prices.together(some) if len(some) > 1 else some[0]
            if option is not None:
                cost = best[start][0] + worth(option, alone, prices)
                ways.append((cost, [*best[start][1], option.node]))
        best.append(min(ways, key=lambda way: way[0]))
    return best[-1][1]


def worth(option: Option, singles: list[Option], prices: Prices) -> float:
    """What is to be small in sum: for latency bytes, as none of the options takes longer."""
    latency = prices.goal == "latency"
    return float(option.found.bytes) if latency else prices.cost(option.found, singles)
