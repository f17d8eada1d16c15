"""The arithmetic that shapes are computed with is done: its results are initializers."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from onnx import ModelProto, NodeProto, helper, numpy_helper

LIMIT = 1 << 20
"""Elements of a constant that shape arithmetic may read."""

Arrays = dict[str, Any]


def static_shapes(model: ModelProto) -> dict[str, tuple[int, ...]]:
    """The shapes of the values that have a static one."""
    graph = model.graph
    shapes = {t.name: tuple(t.dims) for t in graph.initializer}
    for value in (*graph.input, *graph.value_info, *graph.output):
        dense = value.type.tensor_type
        if dense.HasField("shape") and all(d.HasField("dim_value") for d in dense.shape.dim):
            shapes[value.name] = tuple(d.dim_value for d in dense.shape.dim)
    return shapes


def fold_arithmetic(model: ModelProto) -> bool:
    """Replace Shape of known values, and nodes of small constants; tell if there were any."""
    shapes = static_shapes(model)
    small = [t for t in model.graph.initializer if np.prod(t.dims, dtype=float) <= LIMIT]
    known: Arrays = {t.name: numpy_helper.to_array(t) for t in small}
    kept: list[NodeProto] = []
    for node in model.graph.node:
        values = results(node, known, shapes, model)
        if values is None:
            kept.append(node)
            continue
        known |= values
        model.graph.initializer.extend(numpy_helper.from_array(v, k) for k, v in values.items())
    changed = len(kept) < len(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend(kept)
    return changed


def results(
    node: NodeProto, known: Arrays, shapes: Mapping[str, tuple[int, ...]], model: ModelProto
) -> Arrays | None:
    """What `node` computes, if that is known and no weight's DequantizeLinear."""
    if node.op_type == "Shape" and node.input[0] in shapes:
        bounds = {a.name: a.i for a in node.attribute}
        shape = shapes[node.input[0]][bounds.get("start", 0) : bounds.get("end")]
        return {node.output[0]: np.array(shape, np.int64)}
    inner = any(a.HasField("g") for a in node.attribute)
    kept = inner or node.op_type in ("DequantizeLinear", "QuantizeLinear") or node.domain
    if kept or node.op_type.startswith("Random") or any(i and i not in known for i in node.input):
        return None
    return evaluated(node, known, model)


def evaluated(node: NodeProto, known: Arrays, model: ModelProto) -> Arrays | None:
    names = [o for o in node.output if o]
    feeds = {i: known[i] for i in node.input if i}
    inputs = [
        helper.make_tensor_value_info(k, helper.np_dtype_to_tensor_dtype(v.dtype), v.shape)
        for k, v in feeds.items()
    ]
    outputs = [
        helper.make_value_info(name, helper.make_empty_tensor_value_info("").type) for name in names
    ]
    graph = helper.make_graph([node], "node", inputs, outputs)
    from onnx.reference import ReferenceEvaluator  # loads the schemas of all of ONNX

    try:
        evaluator = ReferenceEvaluator(helper.make_model(graph, opset_imports=model.opset_import))
        values = evaluator.run(names, feeds)
    except Exception:  # what the evaluator cannot do stays a node, and an unknown shape is an error
        return None
    return {k: np.asarray(v) for k, v in zip(names, values, strict=True)}
