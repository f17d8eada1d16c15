"""Each way a Graph can be illegal is refused, by the node's name."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace

from dnncc.ir.graph import Graph, Node, View
from dnncc.ir.verify import VerifyError, verify
from tests.compiler.small import IMAGE, Sketch, compiled


def legal() -> Graph:
    sketch = Sketch()
    return compiled(sketch.model({"x": IMAGE}, [sketch.conv(sketch.conv("x", "a"), "y")]))


def retyped(graph: Graph, name: str, **changes: Any) -> Graph:
    tensor = replace(graph.tensors[name], **changes)
    return replace(graph, tensors={**graph.tensors, name: tensor})


def first(graph: Graph, **changes: Any) -> Graph:
    return replace(graph, nodes=(replace(graph.nodes[0], **changes), *graph.nodes[1:]))


FAULTS: dict[str, tuple[Callable[[Graph], Graph], str]] = {
    "order": (lambda g: replace(g, nodes=g.nodes[::-1]), "node 'N_y_y': reads 'a' before"),
    "twice": (lambda g: replace(g, nodes=g.nodes + g.nodes[:1]), "'a' a second time"),
    "output": (lambda g: replace(g, nodes=g.nodes[:1]), "nothing computes output 'y'"),
    "type": (
        lambda g: replace(g, tensors={k: v for k, v in g.tensors.items() if k != "a"}),
        "value 'a' has no type",
    ),
    "shape": (lambda g: retyped(g, "a", shape=(1, 4, 5, 7)), "node 'N_a_y': conv2d gives"),
    "constant": (lambda g: retyped(g, "a_w", dtype=np.dtype("uint8")), "constant 'a_w' is int8"),
    "rank": (lambda g: retyped(g, "x", shape=(4, 5)), "node 'N_a_y': conv2d does not fit"),
    "operator": (lambda g: first(g, op="polish"), "there is no operator 'polish'"),
    "body": (lambda g: first(g, outputs=("a", "b")), "its body does not compute 'b'"),
    "input": (lambda g: first(g, inputs=()), "reads 'x' before"),
    "root": (lambda g: retyped(g, "a", view=View("b", 0, (1,) * 4)), "which does not exist"),
    "strides": (lambda g: retyped(g, "a", view=View("a", 0, (1,))), "has 1 strides"),
    "inside": (
        lambda g: retyped(g, "a", view=View("a", 1, (120, 30, 6, 1))),
        "views elements 1..120 of 'a', which has 120",
    ),
    "results": (
        lambda g: first(g, outputs=("a", "y"), body=(Node("onnx.X", (), ("y", "a")),)),
        "a group has 2 results, not 1",
    ),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_illegal_graphs_are_refused(fault: str) -> None:
    graph = legal()
    verify(graph)
    change, message = FAULTS[fault]
    with pytest.raises(VerifyError, match=message):
        verify(change(graph))
