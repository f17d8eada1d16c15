"""After it, a pool of channels that convolutions put together may be a pool for each of these.

Each can then be one with its convolution (`attach_lanes`). It is done where that is estimated to
save more than the pool would save as one with the convolution that reads it.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import chain

from msgspec import Struct
from msgspec.structs import replace

from ..ir.edit import Editor
from ..ir.graph import Graph, Node, Tensor, View
from ..ir.strides import is_dense
from ..mapping.lowering import OPENS
from .attach_lanes import (
    THOROUGH,
    Pair,
    asked,
    estimated,
    is_pooled,
    is_prepared,
    neighbours,
    saving,
)
from .choose_mapping import Known
from .context import Context

PARTED = ("maxpool", "avgpool")
"""Pools without a table that has a row per channel."""


class Parting(Struct, frozen=True):
    """A `pool`, and the concatenation of channels that it alone reads."""

    whole: Node
    pool: Node


def part_pools(graph: Graph, ctx: Context) -> Graph:
    found = list(partings(graph)) if ctx.effort >= THOROUGH else []
    return parted(graph, worthwhile(graph, found, ctx)) if found else graph


def partings(graph: Graph) -> Iterator[Parting]:
    """Pools of what convolutions make for them alone, each in its place in a storage."""
    made, users = graph.producers(), graph.consumers()
    roots = Counter(t.view.root for t in graph.tensors.values() if t.view)
    for pool in graph.nodes:
        whole = made.get(pool.inputs[0]) if begins(pool, PARTED) else None
        if whole is None or whole.op != "concat" or whole.attrs["axis"] != 1:
            continue
        (name,), parts = whole.outputs, whole.inputs
        read_once = all(len(users[i]) == 1 and i not in graph.outputs for i in (name, *parts))
        convolved = all(i in made and begins(made[i], OPENS) for i in parts)
        own = is_whole(graph.tensors[name]) and roots[name] == 1 + len(set(parts))
        if read_once and convolved and own and len(set(parts)) == len(parts):
            yield Parting(whole, pool)


def begins(node: Node, ops: Sequence[str]) -> bool:
    return node.op == "group" and node.body[0].op in ops


def is_whole(tensor: Tensor) -> bool:
    """Whether it is all of its storage."""
    view = tensor.view
    return view is not None and view.root == tensor.name and is_dense(tensor.shape, view.strides)


def worthwhile(graph: Graph, found: list[Parting], ctx: Context) -> list[Parting]:
    """Those of which the parts save more than the whole does."""
    trial, pools = parted(graph, found), {parting.pool.outputs[0] for parting in found}
    searched = replace(ctx, mapping={})  # what is given may be of groups that are yet to be made
    ahead = [p for p in neighbours(graph, searched, is_prepared) if p[0].outputs[0] in pools]
    behind = list(neighbours(trial, searched, is_pooled))
    ones = [*asked(graph, searched, ahead), *asked(trial, searched, behind)]
    known = estimated((pair.all() for pair in ones), searched)
    return [parting for parting in found if gain(parting, ones, known) > 0]


def gain(parting: Parting, ones: list[Pair], known: Known) -> float:
    """The cycles that its parts save, less those that the whole saves."""
    total = 0.0
    for pair in ones:
        (first, _), (second, _) = pair.first, pair.second
        if second.body[0].inputs[0] in parting.whole.inputs:
            total += saving(pair, known)
        if first == parting.pool:
            total -= saving(pair, known)
    return total


def parted(graph: Graph, chosen: list[Parting]) -> Graph:
    """With a pool for each part, which has a storage of its own."""
    edit, by_pool = Editor(graph), {parting.pool.outputs[0]: parting for parting in chosen}
    for node in graph.nodes:
        parting = by_pool.get(node.outputs[0])
        for new in pools_of_parts(edit, parting) if parting else (node,):
            edit.emit(new)
    return edit.finish()


def pools_of_parts(edit: Editor, parting: Parting) -> Iterator[Node]:
    whole, pool, start = parting.whole, parting.pool, 0
    made = []
    for part in whole.inputs:
        own_storage(edit, part, whole.outputs[0])
        made.append(pool_of_part(edit, pool, part, start))
        start += edit.tensors[part].shape[1]
    yield from made
    parts = tuple(node.outputs[0] for node in made)
    loc = tuple(dict.fromkeys((*pool.loc, *whole.loc)))
    yield Node("concat", parts, pool.outputs, whole.attrs, loc=loc)


def own_storage(edit: Editor, part: str, whole: str) -> None:
    """The part is stored as the whole was, without the other channels."""
    sizes, all_sizes = edit.tensors[part].shape, edit.tensors[whole].shape
    view = edit.tensors[whole].view
    assert view is not None
    outside = (stride > view.strides[1] for stride in view.strides)
    strides = (
        stride * sizes[1] // all_sizes[1] if out else stride
        for stride, out in zip(view.strides, outside, strict=True)
    )
    edit.retype(part, view=View(part, 0, tuple(strides)))


def pool_of_part(edit: Editor, pool: Node, part: str, start: int) -> Node:
    """The group `pool` for one part, whose channels begin at `start` in all its results."""
    body, name, channels = [], part, edit.tensors[part].shape[1]
    for inner in pool.body:
        n, _, *plane = edit.tensors[inner.outputs[0]].shape
        view = edit.tensors[inner.outputs[0]].view
        if view is not None:
            view = View(view.root, view.offset + start * view.strides[1], view.strides)
        shape = (n, channels, *plane)
        result = edit.like(inner.outputs[0], f"{part}.{inner.op}", shape=shape, view=view)
        inputs = (name, *inner.inputs[1:])
        body.append(Node(inner.op, inputs, (result,), inner.attrs, loc=inner.loc))
        name = result
    read = dict.fromkeys(chain([part], *(inner.inputs[1:] for inner in body)))
    return Node("group", tuple(read), (name,), pool.attrs, tuple(body), pool.loc)
