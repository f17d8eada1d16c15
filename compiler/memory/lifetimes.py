"""Which storage a tensor lies in, and from which node to which it is needed."""

from ..ir.graph import Graph


def storage(graph: Graph, name: str) -> str:
    """The tensor whose storage `name` is a view of."""
    view = graph.tensors[name].view
    return view.root if view else name


def storage_bytes(graph: Graph, root: str) -> int:
    tensor = graph.tensors[root]
    return tensor.size * tensor.dtype.itemsize


def lifetimes(graph: Graph) -> dict[str, tuple[int, int]]:
    """First and last node that touches each storage, or works while one does that touches it."""
    spans: dict[str, tuple[int, int]] = {}
    for (begin, end), node in zip(working(graph), graph.nodes, strict=True):
        for name in (*node.inputs, *node.outputs):
            if name and name not in graph.constants:
                root = storage(graph, name)
                first, last = spans.get(root, (begin, end))
                spans[root] = (min(first, begin), max(last, end))
    return spans


def working(graph: Graph) -> list[tuple[int, int]]:
    """Of each node, the first and the last of those that are at work with it."""
    found = [(index, index) for index in range(len(graph.nodes))]
    group = 0
    for index, node in enumerate(graph.nodes):
        if node.attrs.get("beside"):
            found[group], found[index] = (group, index), (group, index)
        group = index if node.op == "group" else group
    return found
