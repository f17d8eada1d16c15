"""How much work a host part is, and when machine code is worth what it costs.

From shapes, not from a clock, and for one input, so that what runs a part does not depend on the
load of the machine or on the batch.
"""

import math
from typing import Any

import onnx
from onnx import ModelProto, NodeProto

from .suitable import values

ELEMENT = 4
"""Operations that an element of an operator without products counts for."""

BUILDING = 10**8
"""Operations from which a part is compiled: 0.1 to 0.4 s of onnx.reference, where compiling takes
2 to 6 s, once, and TVM's code about a third of the time."""

LOADING = 10**7
"""Operations from which code that is there already is loaded; importing TVM takes 0.7 s."""


def inferred(model: ModelProto) -> ModelProto:
    """The model with the shapes of its inner values, where ONNX can tell them."""
    return onnx.shape_inference.infer_shapes(model, data_prop=True)


def operations(model: ModelProto) -> int:
    """Multiply-accumulates, and ELEMENT for each element of the other operators' results."""
    shapes = {v.name: dimensions(v.type.tensor_type) for v in values(model)}
    shapes |= {t.name: tuple(t.dims) for t in model.graph.initializer}
    return sum(of_node(node, shapes) for node in model.graph.node)


def of_node(node: NodeProto, shapes: dict[str, tuple[int, ...]]) -> int:
    given = [shapes.get(name, ()) for name in node.input]
    made = math.prod(shapes.get(node.output[0], ()))
    if node.op_type == "Conv":
        return made * math.prod(given[1][1:])
    if node.op_type == "ConvTranspose":
        return math.prod(given[0]) * math.prod(given[1][1:])
    if node.op_type in ("MatMul", "Gemm"):
        transposed = any(a.name == "transA" and a.i for a in node.attribute)
        return made * (given[0][0 if transposed else -1] if given[0] else 1)
    return ELEMENT * max([made, *map(math.prod, given)])


def dimensions(tensor: Any) -> tuple[int, ...]:
    """Its shape; 1 for what is not known."""
    return tuple(d.dim_value if d.HasField("dim_value") else 1 for d in tensor.shape.dim)
