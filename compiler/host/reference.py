"""ONNX nodes are run by onnx.reference."""

from collections.abc import Mapping, Sequence

import numpy as np

from ..diagnostics import CompileError
from ..ir.graph import Array, Graph, Node


def run_nodes(
    nodes: Sequence[Node],
    feeds: Mapping[str, Array],
    outputs: Sequence[str],
    graph: Graph,
) -> dict[str, Array]:
    """The values `outputs` that `nodes` compute from `feeds` and the graph's constants."""
    from onnx.reference import ReferenceEvaluator  # loads the schemas of all of ONNX

    from .corrected import LRN
    from .export import export

    wanted = [o for o in outputs if o]
    try:
        evaluator = ReferenceEvaluator(export(nodes, feeds, wanted, graph), new_ops=[LRN])
        with np.errstate(all="ignore"):  # its sigmoid computes both branches everywhere
            results = evaluator.run(wanted, dict(feeds))
    except Exception as error:
        name = nodes[0].loc[0] if nodes and nodes[0].loc else None
        raise CompileError(f"onnx.reference cannot run it: {error}", node=name) from error
    return {k: np.asarray(v) for k, v in zip(wanted, results, strict=True)}


def run_node(node: Node, feeds: Mapping[str, Array], graph: Graph) -> dict[str, Array]:
    return run_nodes([node], feeds, node.outputs, graph)
