"""A small model of one ONNX operator, found by trying: shapes and constants that its schema takes.

Nothing here knows single operators. Inputs that may be float are feature maps, weights or vectors;
inputs that may not are small integer constants; what ONNX's inference accepts, with a known shape,
is a probe.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from itertools import chain, islice, product
from typing import Any

import numpy as np
import onnx
from msgspec import Struct
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper
from onnx.defs import OpSchema

OPSET = 21
IR_VERSION = 10
IMAGE = (1, 4, 6, 6)
MAPS = (IMAGE, (4, 8))
SHAPES: tuple[tuple[int, ...], ...] = (
    IMAGE, (4, 4, 3, 3), (4, 1, 3, 3), (4,), (8, 6), (4, 8), (4, 1, 1), (1, 1, 1, 1), (), (3,),
    (3, 32, 8), (3, 32, 32),
)  # fmt: skip
INTEGERS: tuple[Any, ...] = (
    [1, 4, 36, 1], [1], [2, 3], [0, 0, 1, 1, 0, 0, 1, 1], [0], 0, [1, 4, 12, 12], [1, 1, 2, 2], 3,
)  # fmt: skip
ATTRIBUTES: dict[str, Any] = {
    "kernel_shape": [3, 3], "blocksize": 2, "perm": [0, 2, 3, 1], "axis": 1, "hidden_size": 32,
    "size": 3, "to": TensorProto.INT32, "equation": "ijkl,ijkl->ijkl", "num_groups": 2,
    "num_outputs": 2, "axes": [0], "mode": "nearest", "shape": [4, 8],
}  # fmt: skip
"""Values of required attributes, by the names that ONNX gives them in all its operators."""

SCALE, ZERO = np.float32(0.05), np.int8(3)
MOST_TRIALS, MOST_PROBES = 900, 8


class Operand(Struct, frozen=True):
    """A tensor that is computed, or an input of the model."""

    shape: tuple[int, ...]
    kind: int = TensorProto.FLOAT

    @property
    def is_float(self) -> bool:
        return self.kind == TensorProto.FLOAT


class Probe(Struct, frozen=True):
    """`model` has one node named as its operator; float values are quantised on both sides.

    `constant` if all operands but the first are constants.
    """

    operator: str
    model: ModelProto
    constant: bool


@cache
def operators() -> tuple[str, ...]:
    """Names of the default domain at OPSET, without what is deprecated."""
    known = {s.name for s in onnx.defs.get_all_schemas_with_history() if s.domain == ""}
    return tuple(sorted(name for name in known if schema_of(name) is not None))


def schema_of(name: str) -> OpSchema | None:
    try:
        schema = onnx.defs.get_schema(name, OPSET, "")
    except onnx.defs.SchemaError:
        return None
    return None if schema.deprecated else schema


def is_of_sequences(name: str) -> bool:
    """Whether some input or result can be no tensor."""
    schema = schema_of(name)
    sides = () if schema is None else (*schema.inputs, *schema.outputs)
    return any(all(not t.startswith("tensor") for t in side.types) for side in sides)


@cache
def probes(operator: str) -> tuple[Probe, ...]:
    """A few examples: with all float operands computed, and with all but the first constant."""
    schema = schema_of(operator)
    if schema is None:
        return ()
    found: list[Probe] = []
    for node, values in islice(trials(schema), MOST_TRIALS):
        inputs = {k: v for k, v in values.items() if v is not None}
        plain = single(node, inputs)
        if plain is not None and computes(plain, inputs):
            models = (quantised(plain, node, inputs, constant) for constant in (False, True))
            found += [Probe(operator, m, i == 1) for i, m in enumerate(models)]
        if len(found) >= MOST_PROBES:
            break
    return tuple(found)


def trials(schema: OpSchema) -> Iterator[tuple[NodeProto, dict[str, Any]]]:
    """Nodes with Operands or constants for their inputs; those with like operands come first."""
    fewest = max(schema.min_input, 2 if is_variadic(schema) else 0)
    for attrs in attribute_choices(schema):
        if not schema.max_input:
            yield helper.make_node(schema.name, [], ["o0"], schema.name, **attrs), {}
        for count in range(fewest, min(schema.max_input, fewest + 2) + 1):
            first, *rest = [choices(schema, index) for index in range(count)] or [[]]
            alike = product(first, rest[0]) if len(rest) > 1 else ()
            same = ((x, *[other] * len(rest)) for x, other in alike)
            for chosen in chain(same, product(first, *rest)):
                names = [f"i{index}" if c is not None else "" for index, c in enumerate(chosen)]
                outputs = [f"o{i}" for i in range(max(schema.min_output, 1))]
                node = helper.make_node(schema.name, names, outputs, schema.name, **attrs)
                yield node, dict(zip(names, chosen, strict=True))


def is_variadic(schema: OpSchema) -> bool:
    given = schema.inputs[-1:]
    return any(g.option == OpSchema.FormalParameterOption.Variadic for g in given)


def attribute_choices(schema: OpSchema) -> Iterator[dict[str, Any]]:
    """The required attributes; then those, too, of which a value is known."""
    known = {k: v for k, v in ATTRIBUTES.items() if k in schema.attributes}
    required = {k: v for k, v in known.items() if schema.attributes[k].required}
    yield required
    if "num_outputs" in known:
        yield required | {"num_outputs": known["num_outputs"]}


def choices(schema: OpSchema, index: int) -> Sequence[Any]:
    """What input `index` may be: float Operands, integers that are constant, other Operands."""
    given = schema.inputs[min(index, len(schema.inputs) - 1)]
    kinds = set(given.types)
    optional = [None] if given.option == OpSchema.FormalParameterOption.Optional else []
    shapes = SHAPES if index else MAPS
    if "tensor(float)" in kinds:
        return [*optional, *map(Operand, shapes)]
    found: list[Any] = []
    for name, kind in (("int8", TensorProto.INT8), ("bool", TensorProto.BOOL)):
        found += [Operand(s, kind) for s in shapes if f"tensor({name})" in kinds]
    for name in ("int64", "int32"):
        found += [np.array(v, name) for v in INTEGERS if f"tensor({name})" in kinds]
    return [*optional, *found]


def single(node: NodeProto, inputs: dict[str, Any]) -> ModelProto | None:
    """The node alone, with inferred types; None if a type or shape is wrong, or unknown."""
    given = {k: v for k, v in inputs.items() if isinstance(v, Operand)}
    values = [helper.make_tensor_value_info(k, v.kind, v.shape) for k, v in given.items()]
    constants = [numpy_helper.from_array(v, k) for k, v in inputs.items() if k not in given]
    outputs = [helper.make_value_info(name, onnx.TypeProto()) for name in node.output]
    graph = helper.make_graph([node], "probe", values, outputs, constants)
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION
    )
    try:
        inferred = onnx.shape_inference.infer_shapes(
            model, check_type=True, strict_mode=True, data_prop=True
        )
    except Exception:  # this combination is none
        return None
    return inferred if all(map(is_whole, inferred.graph.output)) else None


def is_whole(value: Any) -> bool:
    dense = value.type.tensor_type
    return dense.HasField("shape") and all(d.dim_value > 0 for d in dense.shape.dim)


def computes(model: ModelProto, inputs: dict[str, Any]) -> bool:
    from onnx.reference import ReferenceEvaluator

    feeds = {k: sample(v) for k, v in inputs.items() if isinstance(v, Operand)}
    try:
        with np.errstate(all="ignore"):
            results = ReferenceEvaluator(model).run(None, feeds)
    except Exception:  # this combination is none
        return False
    shapes = [tuple(d.dim_value for d in v.type.tensor_type.shape.dim) for v in model.graph.output]
    return [np.shape(r) for r in results] == shapes


def sample(operand: Operand) -> Any:
    """Its values; four real numbers in a row are also scales of a feature map."""
    if operand == Operand((4,)):
        return np.array([1, 1, 2, 2], np.float32)
    values = np.random.default_rng(0).uniform(0.5, 1.5, operand.shape)
    return values.astype(helper.tensor_dtype_to_np_dtype(operand.kind))


def quantised(
    plain: ModelProto, node: NodeProto, inputs: dict[str, Any], constant: bool
) -> ModelProto:
    """DequantizeLinear before every float input, QuantizeLinear behind every float output."""
    model = ModelProto()
    model.CopyFrom(plain)
    graph = model.graph
    del graph.input[:], graph.value_info[:]
    nodes: list[NodeProto] = []
    for index, (name, given) in enumerate(inputs.items()):
        if not isinstance(given, Operand):
            if name not in {t.name for t in graph.initializer}:
                graph.initializer.append(numpy_helper.from_array(given, name))
            continue
        if given.is_float and index and (constant or len(given.shape) == 1):
            graph.initializer.extend(weight(name, given, nodes))
            continue
        source = f"{name}_q" if given.is_float else name
        kind = TensorProto.INT8 if given.is_float else given.kind
        graph.input.append(helper.make_tensor_value_info(source, kind, given.shape))
        nodes += [border("DequantizeLinear", source, name)] if given.is_float else []
    after = []
    for value in graph.output:
        if value.type.tensor_type.elem_type == TensorProto.FLOAT:
            after.append(border("QuantizeLinear", value.name, f"{value.name}_q"))
            value.name = f"{value.name}_q"
            value.type.tensor_type.elem_type = TensorProto.INT8
    graph.initializer.append(numpy_helper.from_array(np.asarray(SCALE), "probe.scale"))
    graph.initializer.append(numpy_helper.from_array(np.asarray(ZERO), "probe.zero"))
    del graph.node[:]
    graph.node.extend([*nodes, node, *after])
    return model


def border(op: str, source: str, result: str) -> NodeProto:
    return helper.make_node(op, [source, "probe.scale", "probe.zero"], [result], f"{op}.{result}")


def weight(name: str, given: Operand, nodes: list[NodeProto]) -> list[TensorProto]:
    """A constant: quantised symmetrically if it has dimensions, else float."""
    if len(given.shape) < 2:
        return [numpy_helper.from_array(sample(given), name)]
    values = np.rint(sample(given) * 20).astype(np.int8)
    inputs = [f"{name}_w", "probe.scale", f"{name}_zero"]
    nodes.append(helper.make_node("DequantizeLinear", inputs, [name], f"DequantizeLinear.{name}"))
    zero = numpy_helper.from_array(np.asarray(np.int8(0)), f"{name}_zero")
    return [numpy_helper.from_array(values, f"{name}_w"), zero]
