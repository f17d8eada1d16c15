"""Sums of int16 by int8 or int16 products stay in 32 bits, whatever the input.

A convolution or matrix product whose sum could reach 2^31 has its input quantised in fewer steps
than 16 bits have: a larger scale, and a Clip before QuantizeLinear, which the operator before it
takes over.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from msgspec import Struct
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper, shape_inference

from ..ir.graph import Array
from .arithmetic import static_shapes
from .preparation import BORDERS, MOVES, PRODUCTS

LARGEST_SUM = 2**31 - 1
LARGEST = 2**15
PASSING = (*BORDERS, *MOVES, "MaxPool", "Pad")
"""Operators whose results are among their input's values."""


def narrowed(model: ModelProto, steps: Mapping[str, int]) -> dict[str, int]:
    """`steps`, on each side of zero, of the values that have fewer than 2^15, and what more have to
    be fewer; the same again if no sum overflows."""
    facts = Facts.of(model)
    found = dict(steps)
    for node in (n for n in model.graph.node if n.op_type in PRODUCTS):
        roots = [root_of(name, facts.made) for name in node.input[:2]]
        values = [root for root in roots if root not in facts.constants]
        now = max((found.get(root, LARGEST) for root in values), default=0)
        fewer = most_steps(node, facts, now)
        found |= {r: min(found.get(r, LARGEST), fewer) for r in values if fewer < now}
    return found


class Facts(Struct, frozen=True):
    """Who makes each value; constants; shapes."""

    made: Mapping[str, NodeProto]
    constants: Mapping[str, Array]
    shapes: Mapping[str, tuple[int, ...]]

    @classmethod
    def of(cls, model: ModelProto) -> Facts:
        made = {o: n for n in model.graph.node for o in n.output}
        constants = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
        return cls(made, constants, static_shapes(shape_inference.infer_shapes(model)))


def root_of(name: str, made: Mapping[str, NodeProto]) -> str:
    """The value that was first quantised with this scale; what moved it before that is float."""
    found = ""
    while name in made and made[name].op_type in PASSING:
        found = made[name].input[0] if made[name].op_type == "QuantizeLinear" else found
        name = made[name].input[0]
    return found or name


def most_steps(node: NodeProto, facts: Facts, now: int) -> int:
    """With how many steps no sum of `node` overflows, at most `now`."""
    integers = [under(name, facts.made) for name in node.input]
    if not all(integers[:2]):
        return now
    weights = facts.constants.get(integers[1])
    if weights is None:
        return min(now, math.isqrt(LARGEST_SUM // facts.shapes[node.input[0]][-1]))
    sums = np.abs(weights.astype(np.int64)).sum(axis=summed(node, weights.ndim))
    bias = facts.constants.get(integers[2]) if len(integers) > 2 else None
    room = LARGEST_SUM - np.abs(np.zeros(1) if bias is None else bias.astype(np.int64))
    return min(now, int((room // np.maximum(sums, 1)).min()))


def ease_biases(model: ModelProto) -> None:
    """No bias takes more than half of the sums' range: where it does, as in channels whose weights
    are nearly nothing, the channel's unit is twice as large."""
    facts = Facts.of(model)
    tensors = {t.name: t for t in model.graph.initializer}
    for node in (n for n in model.graph.node if n.op_type in PRODUCTS and len(n.input) > 2):
        weight, bias = (facts.made.get(name) for name in node.input[1:3])
        if (
            weight is not None
            and bias is not None
            and {weight.input[0], bias.input[0]} <= {*tensors}
        ):
            ease(weight, bias, facts, tensors)


def ease(
    weight: NodeProto, bias: NodeProto, facts: Facts, tensors: Mapping[str, TensorProto]
) -> None:
    """Double the units of channels with a large bias; both nodes are DequantizeLinears."""
    values, scale = (facts.constants[name] for name in (bias.input[0], weight.input[1]))
    factor = np.where(np.abs(values.astype(np.int64)) > LARGEST_SUM // 2, 2, 1)
    if values.dtype != np.int32 or factor.max() < 2 or scale.size != factor.size:
        return
    shape = [1] * facts.constants[weight.input[0]].ndim
    shape[next((a.i for a in weight.attribute if a.name == "axis"), 1)] = -1
    for name, divisor in ((weight.input[0], factor.reshape(shape)), (bias.input[0], factor)):
        replace_value(tensors[name], np.rint(facts.constants[name] / divisor))
    for name in (weight.input[1], bias.input[1]):
        replace_value(tensors[name], facts.constants[name] * factor)


def replace_value(tensor: TensorProto, value: Array) -> None:
    """Other values of the same type."""
    dtype = numpy_helper.to_array(tensor).dtype
    tensor.CopyFrom(numpy_helper.from_array(value.astype(dtype), tensor.name))


def under(name: str, made: Mapping[str, NodeProto]) -> str:
    """The integers of a dequantised value; "" of another one."""
    node = made.get(name)
    return str(node.input[0]) if node is not None and node.op_type == "DequantizeLinear" else ""


def summed(node: NodeProto, rank: int) -> tuple[int, ...]:
    """The axes of the weights that a result is a sum over, or more."""
    kept = {"Conv": 0, "ConvTranspose": 1, "MatMul": rank - 1}.get(node.op_type)
    if kept is None:
        turned = any(a.name == "transB" and a.i for a in node.attribute)
        kept = 0 if turned else 1
    return tuple(axis for axis in range(rank) if axis != kept)


def overrides(model: ModelProto, steps: Mapping[str, int]) -> dict[str, Any]:
    """The scales of those values, as onnxruntime's option TensorQuantOverrides."""
    constants = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    quantisers = {n.input[0]: n for n in model.graph.node if n.op_type == "QuantizeLinear"}
    scales = {k: constants[quantisers[k].input[1]] for k in steps if k in quantisers}
    return {
        name: [
            {
                "scale": np.array(scale * LARGEST / steps[name], np.float32),
                "zero_point": np.array(0, np.int16),
            }
        ]
        for name, scale in scales.items()
    }


def clip(model: ModelProto, steps: Mapping[str, int]) -> None:
    """A Clip before the QuantizeLinear of each of those values."""
    constants = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    nodes = list[NodeProto]()
    for node in model.graph.node:
        name = node.input[0] if node.input else ""
        if node.op_type == "QuantizeLinear" and name in steps:
            bound = np.array(constants[node.input[1]] * steps[name], np.float32).reshape(())
            limits = [f"{name}.lowest", f"{name}.highest"]
            for limit, value in zip(limits, (-bound, bound), strict=True):
                model.graph.initializer.append(numpy_helper.from_array(np.asarray(value), limit))
            node.input[0] = f"{name}.clipped"
            nodes.append(helper.make_node("Clip", [name, *limits], [node.input[0]], f"{name}.clip"))
        nodes.append(node)
    del model.graph.node[:]
    model.graph.node.extend(nodes)
