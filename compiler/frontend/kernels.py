"""Average pools, Softmax, Add and Mul say, in attribute `kernel`, how onnxruntime computes them.

"integer" is a kernel of its own on quantised values; "lifted" is that on uint8 values which are 128
above the model's int8, which rounds otherwise where a zero point is added first; "float" is
DequantizeLinear, the float operator, QuantizeLinear. onnxruntime's default session takes an integer
kernel if all sides have one type of 8 bits, after it has made uint8 of each int8 value that passes
from a QuantizeLinear to a DequantizeLinear alone (optimizer/qdq_transformer/qdq_s8_to_u8.cc); so
int8 values at the model's borders, at forks and at reshapes decide.
"""

from __future__ import annotations

import numpy as np
from msgspec.structs import replace

from ..ir.graph import Graph, Node, prune
from .ceil import settled, unpadded

BINARY = ("onnx.Add", "onnx.Mul")
UNARY = ("onnx.AveragePool", "onnx.GlobalAveragePool", "onnx.Softmax")
CLAMPS = ("onnx.Relu", "onnx.Clip")


def choose_kernels(graph: Graph) -> Graph:
    users, makers = graph.consumers(), graph.producers()
    nodes = tuple(
        with_kernel(graph, node, users, makers) if node.op in (*UNARY, *BINARY) else node
        for node in graph.nodes
    )
    return prune(graph.with_nodes(nodes))


def with_kernel(
    graph: Graph, node: Node, users: dict[str, list[Node]], makers: dict[str, Node]
) -> Node:
    """An operator that came as a QLinear one has its kernel already."""
    chosen = node.attrs.get("kernel") or kernel(graph, node, users, makers)
    node = replace(node, attrs={**node.attrs, "kernel": chosen})
    return settled(node, makers, chosen != "float")


def kernel(graph: Graph, node: Node, users: dict[str, list[Node]], makers: dict[str, Node]) -> str:
    operands = node.inputs[:2] if node.op in BINARY else (unpadded(node, makers),)
    sources = [makers.get(name) for name in operands]
    result = quantiser(graph, node, users)
    if result is None or any(s is None or s.op != "onnx.DequantizeLinear" for s in sources):
        return "float"
    names = [*(s.inputs[0] for s in sources if s), result.outputs[0]]
    types = {runtime_type(graph, name, users, makers) for name in names}
    if len(types) > 1 or max(kind.itemsize for kind in types) > 1:
        return "float"
    lifted = types != {graph.tensors[names[-1]].dtype}
    return "lifted" if lifted else "integer"


def quantiser(graph: Graph, node: Node, users: dict[str, list[Node]]) -> Node | None:
    """The one QuantizeLinear that reads `node`, behind clamps that change nothing after it."""
    after = users.get(node.outputs[0], [])
    clamps: list[Node] = []
    while len(after) == 1 and after[0].op in CLAMPS and after[0].outputs[0] not in graph.outputs:
        clamps.append(after[0])
        after = users.get(after[0].outputs[0], [])
    if len(after) != 1 or after[0].op != "onnx.QuantizeLinear":
        return None
    return after[0] if all(is_redundant(graph, c, after[0]) for c in clamps) else None


def is_redundant(graph: Graph, clamp: Node, after: Node) -> bool:
    """Its bounds, quantised, are those of the type.

    onnxruntime: optimizer/qdq_transformer/relu_quantizelinear.cc, clip_quantizelinear.cc.
    """
    parameters = [graph.constants.get(name) for name in after.inputs[1:3]]
    dtype = graph.tensors[after.outputs[0]].dtype
    if any(p is None or p.size != 1 for p in parameters) or dtype.kind not in "iu":
        return False
    scale, *zeros = (p.reshape(()) for p in parameters if p is not None)
    zero = int(zeros[0]) if zeros else 0
    low, high = np.iinfo(dtype).min, np.iinfo(dtype).max
    if clamp.op == "onnx.Relu":
        return zero == low
    bounds = clip_bounds(graph, clamp)
    if bounds is None:
        return False
    steps = [np.rint(np.float32(bound) / scale) + zero for bound in bounds]
    return bool(steps[0] <= low and steps[1] >= high)


def clip_bounds(graph: Graph, clip: Node) -> tuple[float, float] | None:
    """None if they are computed."""
    bounds = [clip.attrs.get("min", -np.inf), clip.attrs.get("max", np.inf)]
    for index, name in enumerate(clip.inputs[1:]):
        value = graph.constants.get(name) if name else bounds[index]
        if value is None or np.size(value) != 1:
            return None
        bounds[index] = float(np.reshape(value, ()))
    return bounds[0], bounds[1]


def runtime_type(
    graph: Graph, name: str, users: dict[str, list[Node]], makers: dict[str, Node]
) -> np.dtype[np.generic]:
    """The type that onnxruntime gives the integer value `name`."""
    dtype = graph.tensors[name].dtype
    maker, readers = makers.get(name), users.get(name, [])
    if dtype != np.int8 or maker is None or maker.op != "onnx.QuantizeLinear":
        return dtype
    alone = name not in graph.outputs and len(readers) == 1
    if not alone or readers[0].op != "onnx.DequantizeLinear":
        return dtype
    forked = len(users.get(readers[0].outputs[0], [])) > 1
    return dtype if forked else np.dtype(np.uint8)
