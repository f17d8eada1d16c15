"""A part of a Relax module as an ONNX model, from inputs x0, x1, ... to outputs y0, y1, ..."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper
from tvm import ir, relax

from ..host.export import IR_VERSION, OPSET
from .bias import with_biases
from .operators import Unsupported, operator, shape, tensors


def export(function: Any, name: str) -> ModelProto:
    """The ONNX model of a function of calls, and of calls of such functions inside it.

    Raises Unsupported.
    """
    writing = Writing()
    inputs = [f"x{i}" for i in range(len(function.params))]
    made = writing.function(function, inputs)
    outputs = [f"y{i}" for i in range(len(made))]
    nodes = named(with_biases(writing.nodes), made, outputs)
    types = [p.ty for p in function.params], fields(function.body.body.ty)
    graph = helper.make_graph(
        nodes,
        name,
        [value_info(n, t) for n, t in zip(inputs, types[0], strict=True)],
        [value_info(n, t) for n, t in zip(outputs, types[1], strict=True)],
        writing.constants,
    )
    opset = [helper.make_opsetid("", OPSET)]
    return helper.make_model(graph, opset_imports=opset, ir_version=IR_VERSION)


class Writing:
    """Nodes and constants so far."""

    def __init__(self) -> None:
        self.nodes: list[NodeProto] = []
        self.constants: list[TensorProto] = []

    def function(self, function: Any, given: Sequence[str]) -> list[str]:
        """Write what a function does to those values; the names of its results."""
        values: dict[Any, Any] = dict(zip(function.params, given, strict=True))
        for block in function.body.blocks:
            for binding in block.bindings:
                values[binding.var] = self.bound(binding, values)
        result = function.body.body
        parts = result.fields if isinstance(result, relax.Tuple) else [result]
        return [str(self.value(part, values)) for part in parts]

    def bound(self, binding: Any, values: dict[Any, Any]) -> Any:
        """The name of a value; of a function, itself, to be written where it is called."""
        call = binding.value
        if isinstance(call, relax.Function):
            return call
        if not isinstance(call, relax.Call):
            return self.value(call, values)
        if isinstance(call.op, relax.Var):
            (made,) = self.function(values[call.op], [self.value(a, values) for a in call.args])
            return made
        known = operator(call)
        made = f"{binding.var.name}.{len(self.nodes)}"
        nodes = known.export(call, [self.value(t, values) for t in tensors(call)], made)
        nodes[-1].name = f"{known.name.removeprefix('relax.')}_{len(self.nodes)}"
        self.nodes += nodes
        return made

    def value(self, expression: Any, values: dict[Any, Any]) -> str:
        if not isinstance(expression, ir.GenericConst):
            if expression not in values:
                raise Unsupported(f"{expression} is not a tensor")
            return str(values[expression])
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(expression.value.numpy(), name))
        return name


def named(nodes: list[NodeProto], made: list[str], outputs: list[str]) -> list[NodeProto]:
    """The nodes with the results `made` named as the model's outputs."""
    produced = {o for n in nodes for o in n.output}
    names = {a: b for a, b in zip(made, outputs, strict=True) if a in produced}
    for node in nodes:
        node.input[:] = [names.get(i, i) for i in node.input]
        node.output[:] = [names.get(o, o) for o in node.output]
    again = [(names.get(a, a), b) for a, b in zip(made, outputs, strict=True)]
    return [*nodes, *(helper.make_node("Identity", [a], [b]) for a, b in again if a != b)]


def fields(kind: Any) -> list[Any]:
    return list(kind.fields) if isinstance(kind, relax.TupleType) else [kind]


def value_info(name: str, kind: Any) -> Any:
    dtype = helper.np_dtype_to_tensor_dtype(np.dtype(str(kind.dtype)))
    return helper.make_tensor_value_info(name, dtype, shape(relax.Var(name, kind)))
