"""ONNX's own test cases of single operators, as probes: their values are quantised where they are
float32, and constant where they are a few numbers beside the first input.
"""

from __future__ import annotations

import warnings
from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
from onnx import ModelProto, TensorProto, helper, numpy_helper

from .probes import Operand, Probe, quantised

QUANTISED_SINCE = 10
LARGEST_VECTOR = 64
"""Elements of an input that is a parameter: axes, scales, a bias."""


@cache
def cases() -> Mapping[str, tuple[tuple[Probe, ...], ...]]:
    """By operator of the default domain, the forms of each case: with weights computed, and
    constant. Takes seconds, as the package makes their data."""
    from onnx.backend.test.case.node import collect_testcases

    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")  # some divide by zero, on purpose
        found = collect_testcases(None)
    by_operator = defaultdict[str, list[tuple[Probe, ...]]](list)
    for case in found:
        if case.model is None or not case.data_sets or len(case.model.graph.node) > 1:
            continue
        (node,) = case.model.graph.node
        if not node.domain:
            by_operator[node.op_type].append(forms(case.model, case.data_sets[0]))
    return {name: tuple(listed) for name, listed in by_operator.items()}


def forms(model: ModelProto, data: tuple[Sequence[Any], Sequence[Any]]) -> tuple[Probe, ...]:
    """The model as it is where it takes or gives what is no tensor of numbers, or has an opset
    without QuantizeLinear."""
    operator = model.graph.node[0].op_type
    inputs, outputs = (list(map(array, values)) for values in data)
    old = any(not o.domain and o.version < QUANTISED_SINCE for o in model.opset_import)
    if old or any(v is None for v in (*inputs, *outputs)):
        return (Probe(operator, model, False),)
    whole, operands = with_shapes(model, outputs), operands_of(model, inputs)
    node = whole.graph.node[0]
    models = (quantised(whole, node, operands, constant) for constant in (False, True))
    return tuple(Probe(operator, made, i == 1) for i, made in enumerate(models))


def array(value: Any) -> Any:
    """A NumPy array of numbers, or None."""
    made = numpy_helper.to_array(value) if isinstance(value, TensorProto) else value
    usable = isinstance(made, (np.ndarray, np.generic)) and made.dtype.kind in "fiub"
    return np.asarray(made) if usable else None


def with_shapes(model: ModelProto, outputs: list[Any]) -> ModelProto:
    """A copy, its node named as its operator, with the shapes that its results have."""
    whole = ModelProto()
    whole.CopyFrom(model)
    whole.graph.node[0].name = whole.graph.node[0].op_type
    for value, result in zip(whole.graph.output, outputs, strict=False):
        made = helper.make_tensor_value_info(
            value.name, value.type.tensor_type.elem_type, result.shape
        )
        value.CopyFrom(made)
    return whole


def operands_of(model: ModelProto, values: list[Any]) -> dict[str, Any]:
    """What the node's inputs are, by name: constants, which are taken into the model, or not."""
    found: dict[str, Any] = {}
    for index, (given, value) in enumerate(zip(model.graph.input, values, strict=False)):
        is_parameter = index > 0 and value.ndim <= 1 and value.size <= LARGEST_VECTOR
        kind = given.type.tensor_type.elem_type
        found[given.name] = value if is_parameter else Operand(value.shape, kind)
    return found
