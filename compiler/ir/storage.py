"""The views of a Graph, taken at their word: values written to storage and read back through it."""

from collections.abc import Mapping

import numpy as np

from .graph import Array, Graph, View


def through_storage(graph: Graph, values: Mapping[str, Array]) -> dict[str, Array]:
    """What each value with a view is when it is read, in the order of execution.

    Inputs and the results of nodes that compute are written; the results of view nodes are only
    read. Where two values overlap, or a view is not of what it should be, they are not `values`.
    """
    stored: dict[str, Array] = {}
    found = {name: exchanged(graph, name, values, stored) for name in graph.inputs}
    for node in graph.nodes:
        for name in filter(None, node.outputs):
            if node.op in ("group", "host"):
                write(graph, name, values, stored)
        found |= {o: read(graph, o, stored) for o in node.outputs if o and has_view(graph, o)}
    return found


def has_view(graph: Graph, name: str) -> bool:
    return graph.tensors[name].view is not None


def exchanged(
    graph: Graph, name: str, values: Mapping[str, Array], stored: dict[str, Array]
) -> Array:
    if not has_view(graph, name):
        return values[name]
    write(graph, name, values, stored)
    return read(graph, name, stored)


def window(graph: Graph, name: str, stored: dict[str, Array]) -> Array:
    """The elements of a value in the storage of its root, which begins as zeros."""
    tensor = graph.tensors[name]
    view = tensor.view or View(name, 0, ())
    if view.root not in stored:
        stored[view.root] = np.zeros(graph.tensors[view.root].size, tensor.dtype)
    flat = stored[view.root][view.offset :]
    strides = tuple(s * flat.itemsize for s in view.strides)
    return np.lib.stride_tricks.as_strided(flat, tensor.shape, strides)


def write(graph: Graph, name: str, values: Mapping[str, Array], stored: dict[str, Array]) -> None:
    if has_view(graph, name):
        window(graph, name, stored)[...] = values[name]


def read(graph: Graph, name: str, stored: dict[str, Array]) -> Array:
    return window(graph, name, stored).copy()
