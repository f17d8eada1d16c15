"""Relax operators as ONNX nodes: one function each, which refuses what ONNX has no word for.

`@relax_op(NAME, ...)` makes a function known; it gets the call, the names of its inputs and of its
output, and gives nodes. Constants that a node needs beside its inputs are Constant nodes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from msgspec import Struct
from onnx import NodeProto, helper, numpy_helper
from tvm import relax

Nodes = list[NodeProto]
Export = Callable[[Any, Sequence[str], str], Nodes]


class Unsupported(Exception):
    """A call that has no ONNX form here; the text says why."""


class Operator(Struct, frozen=True):
    """A Relax operator: how many tensors, or tuples of them, it takes, and its ONNX form.

    `computes`: it is worth a part of its own; what only moves or quantises is not.
    """

    name: str
    inputs: int
    computes: bool
    export: Export


OPERATORS: dict[str, Operator] = {}


def relax_op(name: str, inputs: int, computes: bool = True) -> Callable[[Export], Export]:
    def known(export: Export) -> Export:
        OPERATORS[f"relax.{name}"] = Operator(f"relax.{name}", inputs, computes, export)
        return export

    return known


def operator(call: Any) -> Operator:
    """The operator that a Relax call calls. Raises Unsupported."""
    name = getattr(call.op, "name", "")
    if name not in OPERATORS:
        raise Unsupported(f"{name or 'a function'} has no ONNX form here")
    return OPERATORS[name]


def tensors(call: Any) -> list[Any]:
    """The tensors that a call reads, those of a tuple one by one. Raises Unsupported."""
    given = call.args[: operator(call).inputs]
    require(not any(isinstance(a, relax.Var) and is_tuple(a) for a in given), "a tuple by name")
    return [t for a in given for t in (a.fields if isinstance(a, relax.Tuple) else [a])]


def is_tuple(expression: Any) -> bool:
    return isinstance(expression.ty, relax.TupleType)


def same(name: str, relax_name: str, inputs: int) -> None:
    """An operator without attributes."""
    relax_op(relax_name, inputs)(lambda call, given, made: [helper.make_node(name, given, [made])])


for onnx_name, its_name, count in (
    ("Add", "add", 2),
    ("Sub", "subtract", 2),
    ("Mul", "multiply", 2),
    ("Max", "maximum", 2),
    ("Min", "minimum", 2),
    ("MatMul", "matmul", 2),
    ("Relu", "nn.relu", 1),
    ("Sigmoid", "sigmoid", 1),
    ("Tanh", "tanh", 1),
    ("Erf", "erf", 1),
):
    same(onnx_name, its_name, count)


@relax_op("quantize", 3, computes=False)
def quantize(call: Any, given: Sequence[str], made: str) -> Nodes:
    return quantizer("QuantizeLinear", call, given, made)


@relax_op("dequantize", 3, computes=False)
def dequantize(call: Any, given: Sequence[str], made: str) -> Nodes:
    return quantizer("DequantizeLinear", call, given, made)


def quantizer(name: str, call: Any, given: Sequence[str], made: str) -> Nodes:
    integer = (call if name == "QuantizeLinear" else call.args[0]).ty.dtype
    require(str(integer) in ("int8", "uint8", "int16", "uint16", "int32"), f"{name} of {integer}")
    return [helper.make_node(name, given, [made], axis=int(call.attrs.axis))]


@relax_op("nn.conv2d", 2)
def conv2d(call: Any, given: Sequence[str], made: str) -> Nodes:
    attrs = call.attrs
    layouts = (attrs.data_layout, attrs.kernel_layout, attrs.out_layout)
    require(layouts == ("NCHW", "OIHW", "NCHW"), f"conv2d of layouts {layouts}")
    pads = [int(p) for p in attrs.padding]
    return [
        helper.make_node(
            "Conv",
            given,
            [made],
            pads=pads,
            strides=[int(s) for s in attrs.strides],
            dilations=[int(d) for d in attrs.dilation],
            group=int(attrs.groups),
        )
    ]


@relax_op("nn.max_pool2d", 1)
def max_pool2d(call: Any, given: Sequence[str], made: str) -> Nodes:
    return [helper.make_node("MaxPool", given, [made], **window(call.attrs))]


@relax_op("nn.avg_pool2d", 1)
def avg_pool2d(call: Any, given: Sequence[str], made: str) -> Nodes:
    attrs = window(call.attrs) | {"count_include_pad": int(call.attrs.count_include_pad)}
    require(attrs.pop("dilations") == [1, 1], "a dilated average")
    return [helper.make_node("AveragePool", given, [made], **attrs)]


def window(attrs: Any) -> dict[str, Any]:
    require(attrs.layout == "NCHW", f"pooling of layout {attrs.layout}")
    return {
        "kernel_shape": [int(k) for k in attrs.pool_size],
        "strides": [int(s) for s in attrs.strides],
        "pads": [int(p) for p in attrs.padding],
        "dilations": [int(d) for d in attrs.dilation],
        "ceil_mode": int(attrs.ceil_mode),
    }


@relax_op("mean", 1)
def mean(call: Any, given: Sequence[str], made: str) -> Nodes:
    rank = len(shape(call.args[0]))
    axes = [int(a) for a in (call.attrs.axis if call.attrs.axis is not None else range(rank))]
    return with_constant("ReduceMean", given, made, axes, keepdims=int(call.attrs.keepdims))


@relax_op("clip", 1)
def clip(call: Any, given: Sequence[str], made: str) -> Nodes:
    limits = [np.float32(number(argument)) for argument in call.args[1:3]]
    require(str(call.ty.dtype) == "float32", f"clip of {call.ty.dtype}")
    names = [f"{made}.min", f"{made}.max"]
    held = [constant(name, value) for name, value in zip(names, limits, strict=True)]
    return [*held, helper.make_node("Clip", [*given, *names], [made])]


@relax_op("nn.leakyrelu", 1)
def leaky_relu(call: Any, given: Sequence[str], made: str) -> Nodes:
    return [helper.make_node("LeakyRelu", given, [made], alpha=float(call.attrs.alpha))]


@relax_op("concat", 1)
def concat(call: Any, given: Sequence[str], made: str) -> Nodes:
    return [helper.make_node("Concat", given, [made], axis=int(call.attrs.axis or 0))]


@relax_op("permute_dims", 1, computes=False)
def permute_dims(call: Any, given: Sequence[str], made: str) -> Nodes:
    rank = len(shape(call))
    axes = call.attrs.axes if call.attrs.axes is not None else range(rank)[::-1]
    return [helper.make_node("Transpose", given, [made], perm=[int(a) % rank for a in axes])]


def reshaped(call: Any, given: Sequence[str], made: str) -> Nodes:
    return with_constant("Reshape", given, made, shape(call))


for its_name in ("reshape", "flatten", "squeeze", "expand_dims"):
    relax_op(its_name, 1, computes=False)(reshaped)


def with_constant(
    name: str, given: Sequence[str], made: str, value: Sequence[int], **attrs: Any
) -> Nodes:
    """A node whose second input is whole numbers."""
    held = constant(f"{made}.{name.lower()}", np.array(value, np.int64))
    return [held, helper.make_node(name, [*given, held.output[0]], [made], **attrs)]


def constant(name: str, value: Any) -> NodeProto:
    tensor = numpy_helper.from_array(np.asarray(value), name)
    return helper.make_node("Constant", [], [name], value=tensor)


def shape(expression: Any) -> list[int]:
    """The sizes of a tensor. Raises Unsupported if one is not a number."""
    found = getattr(expression.ty, "shape", None)
    require(found is not None, "a tensor without a shape")
    return [int(number(size)) for size in found]  # type: ignore[union-attr]


def number(value: Any) -> float:
    """A number that may be wrapped in an expression. Raises Unsupported for one that varies."""
    inner = getattr(value, "value", value)
    require(isinstance(inner, (int, float)), f"{value} is not a number")
    return float(inner) if isinstance(inner, float) else int(inner)


def require(condition: bool, what: str) -> None:
    if not condition:
        raise Unsupported(what)
