"""A float model is in a form that onnxruntime.quantization takes, and means the same.

Nodes have names of their own, real numbers are float32 (but at the borders), constants are no
inputs, weights that were dequantised from constants are constants, batch normalisations are in
their convolutions.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
from onnx import (
    AttributeProto,
    ModelProto,
    NodeProto,
    TensorProto,
    helper,
    numpy_helper,
    version_converter,
)

from .shapes import constants_only, without_weights

PRODUCTS = ("Conv", "ConvTranspose", "Gemm", "MatMul")
MOVES = ("Reshape", "Transpose", "Squeeze", "Unsqueeze", "Flatten", "Slice", "Gather", "Split")
CARRYING = (*MOVES, "DepthToSpace", "SpaceToDepth", "Expand", "Tile", "Pad", "MaxPool", "Resize")
"""Operators behind which a quantised value is taken for one."""

EVALUATED = 21
"""onnx.reference has DequantizeLinear from 19 on, and blocks from 21 on."""

BORDERS = ("QuantizeLinear", "DequantizeLinear")


def float_products(model: ModelProto) -> list[NodeProto]:
    """The convolutions and matrix products whose input is a float value."""
    made = {o: n for n in model.graph.node for o in n.output}
    constants = {t.name for t in model.graph.initializer}
    found = [n for n in model.graph.node if n.op_type in PRODUCTS]
    return [n for n in found if not comes_quantised(data_of(n, made, constants), made, constants)]


def data_of(node: NodeProto, made: dict[str, NodeProto], constants: set[str]) -> str:
    """The first operand, but of a product of a constant and a value the value."""
    source = made.get(node.input[0])
    dequantised = source is not None and source.op_type == "DequantizeLinear"
    name = source.input[0] if source is not None and dequantised else node.input[0]
    return str(node.input[1 if name in constants else 0])


def comes_quantised(name: str, made: dict[str, NodeProto], constants: set[str]) -> bool:
    node = made.get(name)
    while node is not None and node.op_type in CARRYING:
        node = made.get(node.input[0])
    if node is None:
        return False
    return node.op_type == "DequantizeLinear" and node.input[0] not in constants


def prepared(model: ModelProto, opset: int, folder: Path) -> ModelProto:
    """A new model, through files in `folder`."""
    from onnxruntime.quantization import shape_inference

    from .batch_norm import fold_batch_norms

    paths = folder / "given.onnx", folder / "folded.onnx"
    onnx.save(named(model, opset), paths[0])
    shape_inference.quant_pre_process(*paths, skip_symbolic_shape=True)
    folded = onnx.load(paths[1])
    fold_batch_norms(folded)
    flatten_biases(folded)
    drop_empty(folded)
    return folded


def named(model: ModelProto, opset: int) -> ModelProto:
    """In `opset`, in float32, its nodes named, and its weights constants."""
    changed = ModelProto()
    changed.CopyFrom(model)
    name_nodes(changed)
    constants_only(changed)
    fold_weights(changed)
    return raised(widened(changed), opset)


def name_nodes(model: ModelProto) -> None:
    taken = set[str]()
    for index, node in enumerate(model.graph.node):
        if not node.name or node.name in taken:
            node.name = f"{node.op_type}_{index}"
        taken.add(node.name)


def fold_weights(model: ModelProto) -> None:
    """Dequantised constants that a float product reads have become float constants."""
    constants = {t.name: t for t in model.graph.initializer}
    weights = {name for n in float_products(model) for name in n.input[1:]}
    for node in [n for n in model.graph.node if n.op_type == "DequantizeLinear"]:
        if node.output[0] in weights and all(not i or i in constants for i in node.input):
            value = dequantised(node, constants, model)
            model.graph.initializer.append(value)
            model.graph.node.remove(node)


def dequantised(
    node: NodeProto, constants: dict[str, TensorProto], model: ModelProto
) -> TensorProto:
    """The constant that a DequantizeLinear of constants computes."""
    from onnx.reference import ReferenceEvaluator

    graph = helper.make_graph(
        [node], "weight", [], [onnx.ValueInfoProto(name=node.output[0])],
        [constants[i] for i in node.input if i],
    )  # fmt: skip
    held = next((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), 1)
    opsets = [helper.make_opsetid("", max(held, EVALUATED))]
    evaluator = ReferenceEvaluator(helper.make_model(graph, opset_imports=opsets))
    (value,) = evaluator.run(None, {})
    return numpy_helper.from_array(np.asarray(value), node.output[0])


def raised(model: ModelProto, opset: int) -> ModelProto:
    held = next((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), 1)
    if held >= opset:
        return model
    model.ir_version = max(model.ir_version, 8)  # from 4 on, constants need not be inputs
    del model.graph.value_info[:]  # a type may be another one in the newer opset
    return without_weights(model, lambda light: version_converter.convert_version(light, opset))


def flatten_biases(model: ModelProto) -> None:
    """The library's int32 bias of a Gemm has to be a vector."""
    constants = {t.name: t for t in model.graph.initializer}
    flat = set[str]()
    for node in model.graph.node:
        bias = constants.get(node.input[2]) if node.op_type == "Gemm" and node.input[2:] else None
        if bias is not None and len(bias.dims) == 2 and bias.dims[0] == 1:
            del bias.dims[0]
            flat.add(bias.name)
    kept = [v for v in model.graph.value_info if v.name not in flat]
    del model.graph.value_info[:]
    model.graph.value_info.extend(kept)


def drop_empty(model: ModelProto) -> None:
    """Optional inputs of Resize that are empty constants are absent."""
    empty = {t.name for t in model.graph.initializer if 0 in t.dims}
    for node in (n for n in model.graph.node if n.op_type == "Resize"):
        node.input[:] = ["" if name in empty else name for name in node.input]


def widened(model: ModelProto) -> ModelProto:
    """float16 has become float32; inputs and outputs keep their type, and are cast."""
    graph, half = model.graph, TensorProto.FLOAT16
    borders = [v for v in (*graph.input, *graph.output) if elem_type(v) == half]
    tensors = [t for t in (*graph.initializer, *attribute_tensors(model)) if t.data_type == half]
    if not borders and not tensors:
        return model
    for tensor in tensors:
        tensor.CopyFrom(widen(tensor))
    for attribute in (a for n in graph.node for a in n.attribute):
        if attribute.name in ("to", "dtype") and attribute.i == half:
            attribute.i = TensorProto.FLOAT
    cast_borders(model)
    del graph.value_info[:]
    return model


def elem_type(value: onnx.ValueInfoProto) -> int:
    return int(value.type.tensor_type.elem_type)


def widen(tensor: TensorProto) -> TensorProto:
    real = numpy_helper.to_array(tensor).astype(np.float32)
    return numpy_helper.from_array(real, tensor.name)


def attribute_tensors(model: ModelProto) -> Iterator[TensorProto]:
    for node in model.graph.node:
        yield from (a.t for a in node.attribute if a.type == AttributeProto.TENSOR)


def cast_borders(model: ModelProto) -> None:
    """A Cast after each float16 input, and one before each float16 output."""
    graph, half = model.graph, TensorProto.FLOAT16
    inputs = [v.name for v in graph.input if elem_type(v) == half]
    outputs = [v.name for v in graph.output if elem_type(v) == half]
    renamed = {name: f"{name}.float32" for name in (*inputs, *outputs)}
    for node in graph.node:
        node.input[:] = [renamed.get(name, name) for name in node.input]
        node.output[:] = [renamed.get(name, name) for name in node.output]
    before = [cast(name, renamed[name], TensorProto.FLOAT) for name in inputs]
    after = [cast(renamed[name], name, half) for name in outputs]
    nodes = [*before, *graph.node, *after]
    del graph.node[:]
    graph.node.extend(nodes)


def cast(source: str, result: str, kind: int) -> NodeProto:
    return helper.make_node("Cast", [source], [result], name=f"{result}.cast", to=kind)
