"""Every input of a ModelProto has a static shape, and those of inner values are inferred."""

import re
from collections.abc import Callable, Iterator, Mapping
from math import prod
from typing import Any

import onnx
from onnx import ModelProto, NodeProto, TensorProto, ValueInfoProto, inliner

from ..diagnostics import CompileError
from .arithmetic import fold_arithmetic, static_shapes
from .ceil import remove_ceil_mode

Shapes = Mapping[str, tuple[int, ...]]

FREE_CONSTANTS = 4
"""The first version of the format whose constants need not be inputs."""

MOST_ELEMENTS = 1 << 31
LARGEST_SHAPE = 1 << 16
"""Bytes of a constant that may say what shape something has."""


def constants_only(model: ModelProto) -> None:
    """Old models list their constants as inputs, which says that they may change."""
    constants = {t.name for t in model.graph.initializer}
    kept = [v for v in model.graph.input if v.name not in constants]
    del model.graph.input[:]
    model.graph.input.extend(kept)
    model.ir_version = max(model.ir_version, FREE_CONSTANTS)


def bind_shapes(
    model: ModelProto, shapes: Mapping[str, tuple[int, ...]], notes: list[str], file: str
) -> None:
    """Fix dynamic dimensions: as `shapes` says, and the first one, a batch, to 1 with a note."""
    constants = {t.name for t in model.graph.initializer}
    inputs = [v for v in model.graph.input if v.name not in constants]
    unknown = set(shapes) - {v.name for v in inputs}
    if unknown:
        names = ", ".join(f"'{v.name}'" for v in inputs)
        raise CompileError(
            f"there is no input '{min(unknown)}' to give a shape", file=file,
            hint=f"the inputs are {names}",
        )  # fmt: skip
    symbols: dict[str, int] = {}
    for value in inputs:
        if not value.type.HasField("tensor_type"):
            raise CompileError(f"input '{value.name}' is not a tensor", file=file)
        if value.name in shapes:
            bind_all(value, shapes[value.name], symbols, file)
    for value in (v for v in inputs if v.name not in shapes):
        bind_rest(value, symbols, notes, file)
    for value in inputs:
        sizes = [d.dim_value for d in value.type.tensor_type.shape.dim]
        if prod(sizes) > MOST_ELEMENTS:
            raise CompileError(f"input '{value.name}' of shape {sizes} is too large", file=file)
    forget_shapes(model)


def bind_all(
    value: ValueInfoProto, shape: tuple[int, ...], symbols: dict[str, int], file: str
) -> None:
    dims = value.type.tensor_type.shape.dim
    if value.type.tensor_type.HasField("shape") and len(dims) != len(shape):
        raise CompileError(
            f"input '{value.name}' has {len(dims)} dimensions, the given shape {len(shape)}",
            file=file,
        )
    while len(dims) < len(shape):
        dims.add()
    value.type.tensor_type.shape.SetInParent()
    for index, (dim, size) in enumerate(zip(dims, shape, strict=True)):
        if size < 0 or (dim.HasField("dim_value") and dim.dim_value not in (size, 0, -1)):
            raise CompileError(
                f"dimension {index} of input '{value.name}' is {dim.dim_value}, not {size}",
                file=file,
            )
        if dim.dim_param:
            symbols[dim.dim_param] = size
        dim.dim_value = size


def bind_rest(value: ValueInfoProto, symbols: dict[str, int], notes: list[str], file: str) -> None:
    if not value.type.tensor_type.HasField("shape"):
        raise CompileError(
            f"input '{value.name}' has no shape", file=file, hint=f"give --shape {value.name}=..."
        )
    for index, dim in enumerate(value.type.tensor_type.shape.dim):
        if dim.HasField("dim_value") and dim.dim_value > 0:
            continue
        name = dim.dim_param or str(index)
        if dim.dim_param in symbols:
            dim.dim_value = symbols[dim.dim_param]
        elif index == 0:
            notes.append(
                f"{file}: the batch dimension '{name}' of input '{value.name}' is taken as 1"
            )
            symbols |= {dim.dim_param: 1} if dim.dim_param else {}
            dim.dim_value = 1
        else:
            raise CompileError(
                f"dimension '{name}' of input '{value.name}' is dynamic", file=file,
                hint=f"give --shape {value.name}=...",
            )  # fmt: skip


def forget_shapes(model: ModelProto) -> None:
    """Declared shapes of inner values and outputs may be symbolic or wrong: infer them anew."""
    del model.graph.value_info[:]
    for value in model.graph.output:
        if value.type.HasField("tensor_type"):
            value.type.tensor_type.ClearField("shape")


def infer_shapes(model: ModelProto, file: str) -> ModelProto:
    """Infer; while shapes are unknown, do the arithmetic that gives them, or expand functions, and
    infer again."""
    while True:
        model = inferred(model, file)
        shapes = static_shapes(model)
        changed = remove_ceil_mode(model, shapes)
        if not changed and not (any(of_unknown_shape(model, shapes)) and fold_arithmetic(model)):
            expanded = expand_functions(model, shapes, file)
            if expanded is None:
                return model
            model = expanded
        forget_shapes(model)


def of_unknown_shape(model: ModelProto, known: Shapes) -> Iterator[NodeProto]:
    return (n for n in model.graph.node if any(o and o not in known for o in n.output))


def expand_functions(model: ModelProto, shapes: Shapes, file: str) -> ModelProto | None:
    """The operators that ONNX defines by others and infers no shape for, such as
    GroupNormalization, as those others; None if there are none."""
    versions = {o.domain: o.version for o in model.opset_import}
    unknown = of_unknown_shape(model, shapes)
    found = {(n.domain, n.op_type) for n in unknown if is_function(n, versions)}
    if not found:
        return None
    model.graph.value_info.extend(map(type_of, model.graph.initializer))
    try:
        made: ModelProto = inliner.inline_selected_functions(
            model, sorted(found), exclude=False, inline_schema_functions=True
        )
        forget_shapes(made)
        inferred(made, file)
    except (RuntimeError, CompileError):  # a type that is not known, an attribute by default
        return None
    return made if len(made.graph.node) > len(model.graph.node) else None


def type_of(tensor: TensorProto) -> ValueInfoProto:
    return onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)


def is_function(node: NodeProto, versions: Mapping[str, int]) -> bool:
    schema: Any = onnx.defs.get_schema(node.op_type, versions.get(node.domain, 1), node.domain)
    return bool(schema.has_function or schema.has_context_dependent_function)


def inferred(model: ModelProto, file: str) -> ModelProto:
    def infer(light: ModelProto) -> ModelProto:
        return onnx.shape_inference.infer_shapes(
            light, check_type=True, strict_mode=True, data_prop=True
        )

    try:
        return without_weights(model, infer)
    except Exception as error:
        raise refusal(str(error), file) from None


def without_weights(model: ModelProto, step: Callable[[ModelProto], ModelProto]) -> ModelProto:
    """What `step` makes of the model, without large constants meanwhile, which ONNX's native
    functions would copy four times: shapes do not depend on them. `model` has lost them then."""
    large = [t for t in model.graph.initializer if len(t.raw_data) > LARGEST_SHAPE]
    held = {t.name: t.raw_data for t in large}
    for tensor in large:
        tensor.ClearField("raw_data")
    made = step(model)
    for tensor in made.graph.initializer:
        if tensor.name in held:
            tensor.raw_data = held.pop(tensor.name)
    return made


def refusal(text: str, file: str) -> CompileError:
    """The first fault that ONNX's inference reports, and its node."""
    found = re.search(r"node name: ([^)]*)\)", text)
    what = text.strip().split("\n")[-1].split("Error] ")[-1]
    node = found[1] if found and found[1] else None
    return CompileError(f"the model is not valid: {what}", file=file, node=node)
