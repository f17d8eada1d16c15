"""After it, channels are shuffled in the way that is estimated to be the fastest.

A convolution that stores its groups between each other (assign_layout) gathers all of them in a
tile of its result. That takes room that other tiles have without: where results have little, a
convolution in usual order and a copy can be faster, or the only way. So can tiles of one group
that are stored alone, each scattered over the bursts of all. For energy, bytes that go to DRAM once
less decide: there, a copy is the last resort, and nothing is scattered.
"""

from collections.abc import Iterable, Iterator
from math import inf

from msgspec import Struct
from msgspec.structs import replace

from ..ir.edit import Editor
from ..ir.graph import Graph, Node, View
from ..ir.strides import dense
from ..mapping.bound import fewest_of
from ..mapping.cost import Problem, layout
from ..mapping.lowering import workload
from .assign_layout import copy_group, ordered
from .attach_lanes import THOROUGH, WORTH, estimated, fits_in
from .choose_mapping import Key, Known
from .context import Context, target_of
from .place_buffers import place_buffers

Way = tuple[tuple[Node, Problem], ...]
"""Groups that shuffle, one after the other; none if there are no tiles of all of them."""


class Shuffle(Struct, frozen=True):
    """What is made as `name`: by a convolution that gathers its groups, by one and a copy, or by
    one that scatters its groups."""

    name: str
    gathered: Way
    copied: Way
    scattered: Way


def copy_shuffles(graph: Graph, ctx: Context) -> Graph:
    names = [n.outputs[0] for n in graph.nodes if is_apart(n)]
    if not names:
        return graph
    every = list(compared(graph, with_copies(graph, names), names, ctx))
    copied, scattered = {s.name for s in every if not s.gathered}, set[str]()
    if ctx.effort >= THOROUGH and ctx.goal != "energy":
        known = estimated((way for s in every for way in (s.gathered, s.copied)), ctx)
        copied |= {s.name for s in every if cycles(s.copied, known) < cycles(s.gathered, known)}
        scattered = set(faster(every, known, ctx))
    return with_copies(with_scattered(graph, scattered), copied - scattered)


def is_apart(node: Node) -> bool:
    return node.op == "group" and bool(node.body[-1].attrs.get("apart"))


def compared(graph: Graph, other: Graph, names: list[str], ctx: Context) -> Iterator[Shuffle]:
    """The groups that would make each of these, with the room that their tiles would have."""
    searched = replace(ctx, mapping={})
    ways = [place_buffers(one, searched) for one in (graph, other)]
    before, after = (one.producers() for one in ways)
    for name in names:
        apart, copy = before[name], after[name]
        conv = after[after[copy.inputs[0]].inputs[0]]
        alone = asked(ways[0], [apart], ctx), asked(ways[0], [as_scattered(apart)], ctx)
        yield Shuffle(name, alone[0], asked(ways[1], [conv, copy], ctx), alone[1])


def asked(graph: Graph, nodes: Iterable[Node], ctx: Context) -> Way:
    target = target_of(ctx)
    loads = ((node, workload(node, graph, target)) for node in nodes)
    way = tuple((n, Problem(load, graph, target, n.attrs["free"])) for n, load in loads)
    return way if all(fits_in(problem) for _, problem in way) else ()


def cycles(way: Way, known: Known) -> float:
    return sum(known[problem.key].cycles for _, problem in way) if way else inf


def faster(shuffles: Iterable[Shuffle], known: Known, ctx: Context) -> Iterator[str]:
    """Those that are scattered for clearly fewer cycles than the best of what is `known`. Others
    are not searched for: that cannot be as the array takes so long, or they do not go to DRAM."""
    most = {
        s.name: (1 - WORTH) * min(cycles(s.gathered, known), cycles(s.copied, known))
        for s in shuffles
    }
    stored = [s for s in shuffles for _, p in s.scattered if p.moves(p.load.result)]
    least = floors((p for s in stored for _, p in s.scattered), ctx)
    open_ = [s for s in stored for _, p in s.scattered if least[p.key] < most[s.name]]
    found = estimated((s.scattered for s in open_), ctx)
    return (s.name for s in open_ if cycles(s.scattered, found) < most[s.name])


def floors(problems: Iterable[Problem], ctx: Context) -> dict[Key, int]:
    """What the array takes at least."""
    return fewest_of({p.key: p.load for p in problems}, target_of(ctx), ctx.known)


def as_scattered(node: Node) -> Node:
    (conv,) = node.body
    return replace(node, body=(replace(conv, attrs={**conv.attrs, "scattered": True}),))


def with_scattered(graph: Graph, names: set[str]) -> Graph:
    nodes = (n if names.isdisjoint(n.outputs) else as_scattered(n) for n in graph.nodes)
    return replace(graph, nodes=tuple(nodes))


def with_copies(graph: Graph, names: Iterable[str]) -> Graph:
    """Convolutions that make these store their channels in order, and a copy shuffles them."""
    copied, edit = set(names), Editor(graph)
    for node in graph.nodes:
        if copied.isdisjoint(node.outputs):
            edit.emit(node)
            continue
        (name,), (conv,) = node.outputs, node.body
        whole, split = in_order(edit, name)
        conv = replace(conv, outputs=(whole,), attrs={**conv.attrs, "apart": False})
        edit.emit(replace(node, outputs=(whole,), body=(conv,)))
        edit.emit(Node("reshape", (whole,), (split,), loc=node.loc))
        edit.emit(copy_group(split, name, node.loc))
    return edit.finish()


def in_order(edit: Editor, name: str) -> tuple[str, str]:
    """A value [n, g * k, p, q] like `name`, and a view of it [n, g, k, p, q]: planes, or channels
    innermost, as `name` is."""
    n, groups, k, p, q = shape = edit.tensors[name].shape
    strides = layout(edit.tensors[name])
    innermost = strides[1] < strides[-1]
    strides = ordered(shape, (0, 3, 4, 1, 2)) if innermost else dense(shape)
    whole = edit.like(name, f"{name}.inner", shape=(n, groups * k, p, q))
    split = edit.like(name, f"{name}.groups", view=View(whole, 0, strides))
    edit.retype(whole, view=View(whole, 0, (strides[0], *strides[2:])))
    return whole, split
