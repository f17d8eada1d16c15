"""A sum with a reshaped vector after a convolution is its bias again, as ONNX writes it.

TVM imports the bias as `add(conv2d(x, w), reshape(b, (1, K, 1, 1)))`. As a bias, it is added in the
accumulator, unrounded, as onnxruntime does.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from onnx import NodeProto, numpy_helper


def with_biases(nodes: Sequence[NodeProto]) -> list[NodeProto]:
    """The nodes, in an order of execution, with such sums in their convolutions."""
    made = {n.output[0]: n for n in nodes}
    uses = Counter(i for n in nodes for i in n.input)
    vectors = {n.output[0]: n.input[0] for n in nodes if is_vector(n, made)}
    gone = set[int]()
    for node in nodes:
        for conv, vector in biased(node, made, vectors):
            if uses[conv.output[0]] == 1 and len(conv.input) == 2:
                gone.add(id(conv))
                node.CopyFrom(moved(conv, vector, node.output[0]))
                break
    return [n for n in nodes if id(n) not in gone]


def biased(
    node: NodeProto, made: dict[str, NodeProto], vectors: dict[str, str]
) -> Iterator[tuple[NodeProto, str]]:
    """The convolution and the vector that a node adds."""
    if node.op_type != "Add":
        return
    for one, other in (node.input, node.input[::-1]):
        if one in made and made[one].op_type == "Conv" and other in vectors:
            yield made[one], vectors[other]


def is_vector(node: NodeProto, made: dict[str, NodeProto]) -> bool:
    """Whether a node gives something the constant shape (1, K, 1, ...): along the channels."""
    shape = made.get(node.input[1]) if node.op_type == "Reshape" else None
    if shape is None:
        return False
    sizes = numpy_helper.to_array(shape.attribute[0].t).tolist()
    return len(sizes) > 2 and sizes[0] == 1 and set(sizes[2:]) == {1}


def moved(conv: NodeProto, bias: str, output: str) -> NodeProto:
    """The convolution where the sum was."""
    copy = NodeProto()
    copy.CopyFrom(conv)
    copy.input.append(bias)
    copy.output[0] = output
    return copy
