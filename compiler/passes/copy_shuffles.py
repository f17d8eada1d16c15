"""After it, channels are shuffled by a copy of their own where that is estimated to be faster.

Elsewhere the convolution before stores its groups between each other (assign_layout). A tile of its
result then has all groups, which takes room that other tiles have without: where results have
little, a convolution in usual order and a copy can be faster, or the only way. For energy, bytes
that go to DRAM once less decide: there, a copy is the last resort.
"""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import NamedTuple

from ..ir.edit import Editor
from ..ir.graph import Graph, Node, View
from ..ir.strides import dense
from ..mapping.cost import Problem, layout
from ..mapping.lowering import workload
from .assign_layout import copy_group, ordered
from .attach_lanes import THOROUGH, estimated, fits_in
from .context import Context, target_of
from .place_buffers import place_buffers

Asked = list[tuple[Node, Problem]]


class Shuffle(NamedTuple):
    """What is made as `name`: by a convolution that stores its groups apart, or by two groups."""

    name: str
    apart: Asked
    copied: Asked


def copy_shuffles(graph: Graph, ctx: Context) -> Graph:
    names = [n.outputs[0] for n in graph.nodes if is_apart(n)]
    if not names:
        return graph
    every = list(compared(graph, with_copies(graph, names), names, ctx))
    needed = {s.name for s in every if not fit(s.apart)}
    open_ = [s for s in every if s.name not in needed and fit(s.copied)]
    timed = ctx.effort >= THOROUGH and ctx.goal != "energy"
    slow = slower(open_, ctx) if timed else set()
    return with_copies(graph, needed | slow)


def is_apart(node: Node) -> bool:
    return node.op == "group" and bool(node.body[-1].attrs.get("apart"))


def compared(graph: Graph, other: Graph, names: list[str], ctx: Context) -> Iterator[Shuffle]:
    """The groups that would make each of these, with the room that their tiles would have."""
    searched = replace(ctx, mapping={})
    ways = [place_buffers(one, searched) for one in (graph, other)]
    before, after = (one.producers() for one in ways)
    for name in names:
        copy = after[name]
        conv = after[after[copy.inputs[0]].inputs[0]]
        one, pair = asked(ways[0], [before[name]], ctx), asked(ways[1], [conv, copy], ctx)
        yield Shuffle(name, one, pair)


def asked(graph: Graph, nodes: Iterable[Node], ctx: Context) -> Asked:
    target = target_of(ctx)
    loads = ((node, workload(node, graph, target)) for node in nodes)
    return [(node, Problem(load, graph, target, node.attrs["free"])) for node, load in loads]


def fit(some: Asked) -> bool:
    """Whether there are tiles of all of them."""
    return all(fits_in(problem) for _, problem in some)


def slower(shuffles: list[Shuffle], ctx: Context) -> set[str]:
    """Those of which a copy is estimated to take fewer cycles."""
    known = estimated(((*s.apart, *s.copied) for s in shuffles), ctx)

    def cycles(some: Asked) -> int:
        return sum(known[problem.key()].cycles for _, problem in some)

    return {s.name for s in shuffles if cycles(s.copied) < cycles(s.apart)}


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
