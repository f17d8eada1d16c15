"""A Graph in Graphviz's language: boxes are nodes, arrows are values with their types."""

from collections.abc import Iterator

from .graph import Graph, Node
from .mlir import quote

SHADES = {"group": "lightblue", "host": "lightsalmon"}


def print_dot(graph: Graph) -> str:
    return "\n".join(["digraph {", "  node [shape=box, style=filled]", *lines(graph), "}", ""])


def lines(graph: Graph) -> Iterator[str]:
    maker = {name: f"in{i}" for i, name in enumerate(graph.inputs)}
    for name, box in maker.items():
        yield f"  {box} [label={quote(name)}, shape=oval, fillcolor=white]"
    for index, node in enumerate(graph.nodes):
        yield f"  n{index} [label={label(node)}, fillcolor={SHADES.get(node.op, 'white')}]"
        for name in dict.fromkeys(i for i in node.inputs if i in maker):
            yield f"  {maker[name]} -> n{index} [label={quote(kind(graph, name))}]"
        maker |= {o: f"n{index}" for o in node.outputs if o}
    for index, name in enumerate(graph.outputs):
        yield f"  out{index} [label={quote(name)}, shape=oval, fillcolor=white]"
        if name in maker:
            yield f"  {maker[name]} -> out{index} [label={quote(kind(graph, name))}]"


def label(node: Node) -> str:
    """Its operators, and below them the ONNX nodes; \\n is Graphviz's own."""
    operators = " + ".join(n.op for n in node.body) or node.op
    return "\\n".join((quote(operators)[:-1], *(quote(name)[1:-1] for name in node.loc))) + '"'


def kind(graph: Graph, name: str) -> str:
    tensor = graph.tensors[name]
    return f"{tensor.dtype} {'x'.join(map(str, tensor.shape))}"
