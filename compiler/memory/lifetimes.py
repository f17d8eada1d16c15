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
    """First and last node that touches each storage."""
    spans: dict[str, tuple[int, int]] = {}
    for index, node in enumerate(graph.nodes):
        for name in (*node.inputs, *node.outputs):
            if name and name not in graph.constants:
                root = storage(graph, name)
                spans[root] = (spans.get(root, (index, index))[0], index)
    return spans
