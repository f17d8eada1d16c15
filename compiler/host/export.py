"""Nodes of a Graph as a standalone ONNX model, whose inputs and outputs have the tensors' names."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from onnx import (
    AttributeProto,
    ModelProto,
    NodeProto,
    ValueInfoProto,
    helper,
    numpy_helper,
    version_converter,
)

from ..diagnostics import CompileError
from ..ir.graph import Graph, Node, Tensor
from .evaluation import is_missing
from .forms import evaluable

IR_VERSION = 10
OPSET = 21


def export_host(node: Node, graph: Graph) -> bytes:
    """The host part `node` as an ONNX model; the constants that it reads are in it. Raises
    CompileError for an operator that nobody computes."""
    model = export(node.body, node.inputs, node.outputs, graph)
    versions = {o.domain: o.version for o in model.opset_import}
    for proto in model.graph.node:
        if is_missing(proto.op_type, proto.domain, versions[proto.domain]):
            what = f"neither the accelerator nor onnx.reference computes {proto.op_type}"
            raise CompileError(what, node=proto.name or None)
    data: bytes = model.SerializeToString(deterministic=True)
    return data


def export(
    nodes: Sequence[Node], inputs: Iterable[str], outputs: Iterable[str], graph: Graph
) -> ModelProto:
    read = {i for n in nodes for i in n.inputs if i}
    read |= {i for n in nodes for b in n.body for i in b.inputs if i}
    made = {o for n in nodes for o in n.outputs}
    constants = {
        name: graph.constants[name]
        for name in sorted({*read, *outputs} - made)
        if name in graph.constants
    }
    model = helper.make_model(
        helper.make_graph(
            [proto for node in nodes for proto in evaluable(node_proto(node), node, graph)],
            graph.name,
            [value_info(graph.tensors[i]) for i in inputs if i and i not in constants],
            [value_info(graph.tensors[o]) for o in outputs if o],
            [numpy_helper.from_array(np.asarray(v), k) for k, v in constants.items()],
        ),
        opset_imports=opsets(nodes, graph.opset),
        ir_version=IR_VERSION,
    )
    return raised(model, graph.opset)


def raised(model: ModelProto, version: int) -> ModelProto:
    """The model in OPSET where ONNX can convert it: runtimes know only the newer quantisers."""
    if version >= OPSET:
        return model
    try:
        return version_converter.convert_version(model, OPSET)
    except (RuntimeError, ValueError, version_converter.ConvertError):
        return model


def opsets(nodes: Iterable[Node], version: int) -> list[Any]:
    domains = {str(n.attrs["domain"]) for n in nodes if "domain" in n.attrs}
    others = [helper.make_opsetid(domain, 1) for domain in sorted(domains)]
    return [helper.make_opsetid("", version), *others]


def value_info(tensor: Tensor) -> ValueInfoProto:
    kind = helper.np_dtype_to_tensor_dtype(tensor.dtype)
    return helper.make_tensor_value_info(tensor.name, kind, tensor.shape)


def node_proto(node: Node) -> NodeProto:
    operands = node.attrs.get("operands", len(node.inputs))
    proto = helper.make_node(
        node.op.removeprefix("onnx."),
        node.inputs[:operands],
        node.outputs,
        name=node.loc[0] if node.loc else None,
        domain=node.attrs.get("domain"),
    )
    proto.attribute.extend(attributes(node.attrs))
    return proto


NOT_ONNX = ("domain", "operands", "reason", "kernel")


def attributes(attrs: Mapping[str, Any]) -> list[AttributeProto]:
    return [attribute(k, v) for k, v in sorted(attrs.items()) if k not in NOT_ONNX]


def attribute(name: str, value: Any) -> AttributeProto:
    if isinstance(value, bytes):
        graph: AttributeProto = AttributeProto.FromString(value)
        return graph
    if isinstance(value, np.ndarray):
        return helper.make_attribute(name, numpy_helper.from_array(value))
    if value == ():
        return helper.make_attribute(name, [], attr_type=AttributeProto.INTS)
    return helper.make_attribute(name, value)
