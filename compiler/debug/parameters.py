"""The packed parameters of a group say what its tensors' quantisation says."""

import numpy as np

from ..ir.graph import Array, Graph, Node, Quant
from ..ir.verify import VerifyError

TOLERANCE = 1e-6
"""Relative: a scale is rounded to float32, in one order of operations or another."""


def check_parameters(graph: Graph) -> None:
    """Bias and scale per output channel. Raises VerifyError."""
    for node in graph.walk():
        table = graph.constants.get(node.attrs.get("params", ""))
        if table is None or table.ndim != 2 or table.shape[1] != 2:
            continue
        wanted = expected_scale(graph, node)
        scale = table[:, 1].copy().view(np.float32)
        if not (np.abs(scale - wanted) <= TOLERANCE * np.abs(wanted)).all():
            raise fault(node, "scale", scale, wanted)
        if len(node.inputs) > 2 and node.inputs[2]:
            bias = graph.constants[node.inputs[2]].reshape(-1)
            if not np.array_equal(table[:, 0], bias):
                raise fault(node, "bias", table[:, 0], bias)


def expected_scale(graph: Graph, node: Node) -> Array:
    """What a sum is multiplied with; a mean has no weights, but a count."""
    x, y = (quant_of(graph, name) for name in (node.inputs[0], node.outputs[0]))
    scale = x.scale.astype(np.float64) / y.scale
    if len(node.inputs) > 1:
        product: Array = scale * quant_of(graph, node.inputs[1]).scale
        return product
    return np.asarray(scale / np.prod(graph.tensors[node.inputs[0]].shape[2:]))


def quant_of(graph: Graph, name: str) -> Quant:
    quant = graph.tensors[name].quant
    if quant is None:
        raise VerifyError(f"'{name}' has no scale")
    return quant


def fault(node: Node, what: str, got: Array, wanted: Array) -> VerifyError:
    both = np.broadcast_arrays(got, wanted)
    channel = int(np.argmax(np.abs(both[0] - both[1])))
    return VerifyError(
        f"the {what} of channel {channel} is packed as {both[0][channel]:g}, "
        f"not {both[1][channel]:g}",
        node=", ".join(node.loc),
    )
