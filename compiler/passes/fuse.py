"""After it, every accelerator operator is in a group: an anchor, and an epilogue on its tiles.

A convolution or matrix product takes the residual `add`, or another operator with one more operand,
and the `lut` that alone read it; a pool takes the `lut`. A group has one result, its last node's;
it stands where its last node stood. Views are in no group.
"""

from __future__ import annotations

from ..ir.graph import Graph, Node
from ..mapping.lowering import POOLS
from ..ops import find_op, is_view
from ..ops.elementwise import Elementwise
from .context import Context

ANCHORS = ("conv2d", "matmul")


def fuse(graph: Graph, ctx: Context) -> Graph:
    users = graph.consumers()
    members: dict[str, tuple[Node, ...]] = {}
    nodes: list[Node] = []
    for node in graph.nodes:
        if find_op(node) is None or is_view(node):
            nodes.append(node)
            continue
        chain = (*joined(graph, node, members, users), node)
        nodes = [n for n in nodes if not (n.op == "group" and n.body == chain[:-1])]
        members[node.outputs[0]] = chain
        nodes.append(group(chain))
    return graph.with_nodes(tuple(nodes))


def singletons(graph: Graph, ctx: Context) -> Graph:
    """In place of `fuse`: every accelerator operator is a group of its own."""
    alone = (n if find_op(n) is None or is_view(n) else group((n,)) for n in graph.nodes)
    return graph.with_nodes(tuple(alone))


def joined(
    graph: Graph,
    node: Node,
    members: dict[str, tuple[Node, ...]],
    users: dict[str, list[Node]],
) -> tuple[Node, ...]:
    """The latest group that `node` can be the epilogue of, or nothing."""
    if node.op != "lut" and not is_elementwise(node):
        return ()
    order = {name: index for index, name in enumerate(members)}
    for name in sorted(set(node.inputs) & set(members), key=lambda n: -order[n]):
        alone = len(users[name]) == 1 and name not in graph.outputs
        if alone and accepts(graph, members[name], node):
            return members[name]
    return ()


def accepts(graph: Graph, chain: tuple[Node, ...], node: Node) -> bool:
    """After the anchor at most one elementwise operator whose result has the anchor's shape, then
    at most one `lut`; after a pool only that."""
    if chain[0].op not in (*ANCHORS, *POOLS) or chain[-1].op == "lut":
        return False
    if node.op == "lut":
        return True
    if chain[0].op in POOLS:
        return False
    shapes = {graph.tensors[i].shape for i in (*chain[-1].outputs, *node.outputs)}
    first = not any(map(is_elementwise, chain))
    return first and len(shapes) == 1 and len(set(node.inputs)) == 2


def is_elementwise(node: Node) -> bool:
    op = find_op(node)
    return op is not None and issubclass(op, Elementwise)


def group(chain: tuple[Node, ...]) -> Node:
    made = {o for n in chain for o in n.outputs}
    inputs = dict.fromkeys(i for n in chain for i in n.inputs if i and i not in made)
    loc = tuple(dict.fromkeys(name for n in chain for name in n.loc))
    return Node("group", tuple(inputs), chain[-1].outputs, body=chain, loc=loc)
