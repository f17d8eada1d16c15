"""An ONNX model has become a Graph: every value has a static shape, every node is `onnx.NAME`."""

import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from msgspec.structs import replace
from onnx import (
    AttributeProto,
    GraphProto,
    ModelProto,
    NodeProto,
    TensorProto,
    ValueInfoProto,
    helper,
    inliner,
    numpy_helper,
)

from ..diagnostics import CompileError, UnknownShape
from ..ir.edit import Editor
from ..ir.graph import Array, Graph, Node, Tensor
from .ceil import forget_counted
from .checks import check_names, check_nodes
from .floats import Rewrite
from .kernels import choose_kernels
from .loading import check_tensor, load_model
from .qoperators import OURS, expand_qoperators
from .shapes import bind_shapes, constants_only, forget_shapes, infer_shapes

FAULTS = (ArithmeticError, AttributeError, LookupError, MemoryError, TypeError, ValueError)

UNINFERRED = ("STFT", "MeanVarianceNormalization")

MOST_ELEMENTS = 1 << 40


def import_model(
    source: str | Path | ModelProto,
    shapes: Mapping[str, tuple[int, ...]] | None = None,
    notes: list[str] | None = None,
    quantise: Rewrite | None = None,
) -> Graph:
    """The Graph of a model; `shapes` fixes dynamic inputs, `notes` collects what was assumed.

    `quantise` is what a float model is given to, when its shapes are known.
    """
    file = file_of(source)
    with refusing(file):
        model = checked_import(source, shapes or {}, [] if notes is None else notes, file)
        return build(quantised(model, quantise, file), file)


def static_model(
    source: str | Path | ModelProto,
    shapes: Mapping[str, tuple[int, ...]] | None = None,
    notes: list[str] | None = None,
    quantise: Rewrite | None = None,
) -> ModelProto:
    """The ONNX model that import_model makes a Graph of. Raises CompileError."""
    file = file_of(source)
    with refusing(file):
        model = checked_import(source, shapes or {}, [] if notes is None else notes, file)
        model = quantised(model, quantise, file)
    forget_counted(model)
    return model


def file_of(source: str | Path | ModelProto) -> str:
    name = source.graph.name if isinstance(source, ModelProto) else str(source)
    return name if name and isinstance(name, str) else "model"


@contextmanager
def refusing(file: str) -> Iterator[None]:
    """A fault of an input that no check foresaw is a CompileError, too."""
    try:
        yield
    except FAULTS as error:
        what = f"the model is malformed ({type(error).__name__}: {error})"
        raise CompileError(what, file=file) from error


def checked_import(
    source: str | Path | ModelProto,
    shapes: Mapping[str, tuple[int, ...]],
    notes: list[str],
    file: str,
) -> ModelProto:
    """A copy of the model, of operators that are known and static shapes."""
    if isinstance(source, ModelProto):
        model = ModelProto()
        model.CopyFrom(source)
    else:
        model = load_model(Path(source))
    check_names(model, file)
    for tensor in model.graph.initializer:
        check_tensor(tensor, file)
    model = expand_qoperators(inline(model, file))
    check_operators(model, file)
    spell_defaults(model)
    constants_only(model)
    bind_shapes(model, shapes, notes, file)
    return infer_shapes(model, file)


def quantised(model: ModelProto, quantise: Rewrite | None, file: str) -> ModelProto:
    changed = model if quantise is None else quantise(model)
    if changed is not model:
        forget_counted(changed)
        forget_shapes(changed)
        changed = infer_shapes(changed, file)
    return changed


def inline(model: ModelProto, file: str) -> ModelProto:
    """Model-local functions are expanded."""
    if not model.functions:
        return model
    try:
        inlined: ModelProto = inliner.inline_local_functions(model)
        return inlined
    except Exception as error:
        raise CompileError(f"its functions cannot be expanded: {error}", file=file) from None


def check_operators(model: ModelProto, file: str) -> None:
    """Every node is an operator that ONNX defines."""
    versions = {o.domain: o.version for o in model.opset_import}
    first = {(n.domain, n.op_type): i for i, n in reversed([*enumerate(model.graph.node)])}
    for index in first.values():
        node = model.graph.node[index]
        version = versions.get(node.domain, versions.get("ai.onnx", 0) if not node.domain else 0)
        try:
            onnx.defs.get_schema(node.op_type, max(version, 1), node.domain)
        except onnx.defs.SchemaError:
            name = f"{node.domain}.{node.op_type}" if node.domain else node.op_type
            raise CompileError(
                f"unknown operator {name} (opset {version})",
                file=file,
                node=node_name(node, index),
                hint="see docs/operators.md for what is taken",
            ) from None


def spell_defaults(model: ModelProto) -> None:
    """Attributes whose defaults ONNX's inference does not know are written out."""
    version = max((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), default=1)
    for node in (n for n in model.graph.node if n.op_type in UNINFERRED and not n.domain):
        given = {a.name for a in node.attribute}
        schema = onnx.defs.get_schema(node.op_type, version)
        known = [a.default_value for k, a in schema.attributes.items() if k not in given]
        node.attribute.extend(a for a in known if a.name)


def node_name(node: NodeProto, index: int) -> str:
    return node.name or f"{node.op_type}_{index}"


def build(model: ModelProto, file: str) -> Graph:
    graph = model.graph
    opset = next((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), 1)
    constants = {t.name: to_array(t, file) for t in graph.initializer}
    given = [v for v in graph.input if v.name not in constants]
    types = {v.name: v for v in (*graph.value_info, *graph.output, *given)}
    nodes: list[Node] = []
    for index, proto in enumerate(graph.node):
        node = import_node(proto, index, file)
        if node.op == "onnx.Constant":
            constants[node.outputs[0]] = constant_of(node, file)
        else:
            nodes.append(node)
    check_ssa(nodes, [v.name for v in given], constants, file)
    tensors = {name: Tensor(name, a.shape, a.dtype) for name, a in constants.items()}
    for value in given:
        tensors[value.name] = typed(types, value.name, file, None)
    outputs = tuple(v.name for v in graph.output)
    used = {*outputs, *(i for n in nodes for i in n.inputs)}
    nodes = [without_unused(node, used) for node in nodes]
    for node in nodes:
        tensors |= {o: typed(types, o, file, node.loc[0]) for o in node.outputs if o}
    for name in outputs:
        if name not in tensors or name in {v.name for v in given}:
            raise CompileError(f"no node computes output '{name}'", file=file)
    names = tuple(v.name for v in given)
    check_nodes(nodes, tensors, constants, file)
    built = Graph(graph.name or "model", names, outputs, tensors, constants, tuple(nodes), opset)
    return choose_kernels(named_outputs(built))


def named_outputs(graph: Graph) -> Graph:
    """An output that is a constant has become the Identity of one."""
    edit = Editor(graph)
    for name in (name for name in graph.outputs if name in graph.constants):
        edit.alias(name, edit.constant(f"{name}.value", edit.constants.pop(name)))
    for node in graph.nodes:
        edit.emit(edit.resolved(node))
    for name, source in edit.aliases.items():
        edit.emit(Node("onnx.Identity", (source,), (name,), loc=(name,)))
    return edit.finish()


def without_unused(node: Node, used: set[str]) -> Node:
    """An optional result that nothing reads is absent."""
    first, *rest = node.outputs or ("",)
    return replace(node, outputs=(first, *(o if o in used else "" for o in rest)))


def check_ssa(
    nodes: Iterable[Node], inputs: Iterable[str], constants: Mapping[str, Array], file: str
) -> None:
    """Every value is defined once, before its uses."""
    known = {*inputs, *constants}
    for node in nodes:
        for name in node.inputs:
            if name and name not in known:
                raise CompileError(
                    f"input '{name}' is not defined before it", file=file, node=node.loc[0]
                )
        for name in node.outputs:
            if name in known:
                raise CompileError(f"'{name}' is defined twice", file=file, node=node.loc[0])
            known.update([name] if name else [])


def import_node(proto: NodeProto, index: int, file: str) -> Node:
    name = node_name(proto, index)
    attrs = {a.name: attribute(a) for a in proto.attribute}
    if proto.domain not in ("", "ai.onnx"):
        attrs["domain"] = proto.domain
    attrs |= {
        p.key.removeprefix(OURS): p.value for p in proto.metadata_props if p.key.startswith(OURS)
    }
    captured = captures(proto)
    if captured:
        attrs["operands"] = len(proto.input)
    inputs = (*proto.input, *captured)
    return Node(f"onnx.{proto.op_type}", inputs, tuple(proto.output), attrs, loc=(name,))


def attribute(proto: AttributeProto) -> Any:
    """ints, floats, strings, lists of them, arrays; a subgraph stays the bytes of its proto."""
    if proto.type in (AttributeProto.GRAPH, AttributeProto.GRAPHS):
        return proto.SerializeToString(deterministic=True)
    value = helper.get_attribute_value(proto)
    if isinstance(value, TensorProto):
        return to_array(value, "attribute")
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, int | float):
        return value
    return tuple(v.decode("utf-8", "replace") if isinstance(v, bytes) else v for v in value)


def captures(proto: NodeProto) -> tuple[str, ...]:
    """Outer values that the node's subgraphs read; they follow its own inputs."""
    inner = [g for a in proto.attribute for g in (*a.graphs, *([a.g] if a.HasField("g") else []))]
    return tuple(dict.fromkeys(name for g in inner for name in free_names(g)))


def free_names(graph: GraphProto) -> list[str]:
    bound = {v.name for v in graph.input} | {t.name for t in graph.initializer}
    bound |= {o for n in graph.node for o in n.output}
    read = [i for n in graph.node for i in (*n.input, *captures(n))]
    read += [v.name for v in graph.output]
    return [name for name in read if name and name not in bound]


def constant_of(node: Node, file: str) -> Array:
    for name, dtype in (("value_int", np.int64), ("value_ints", np.int64),
                        ("value_float", np.float32), ("value_floats", np.float32)):  # fmt: skip
        if name in node.attrs:
            return np.array(node.attrs[name], dtype)
    value = node.attrs.get("value")
    if not isinstance(value, np.ndarray):
        raise CompileError("a constant that is not a dense tensor", file=file, node=node.loc[0])
    return value


def to_array(tensor: TensorProto, file: str) -> Array:
    check_tensor(tensor, file)
    try:
        return np.array(numpy_helper.to_array(tensor))
    except (ValueError, TypeError) as error:
        raise CompileError(f"tensor '{tensor.name}': {error}", file=file) from None


def typed(types: Mapping[str, ValueInfoProto], name: str, file: str, node: str | None) -> Tensor:
    """The declared or inferred type, which must be that of a dense tensor of static shape."""
    info = types.get(name)
    if info is None or not info.type.HasField("tensor_type"):
        raise CompileError(f"the type of '{name}' is not known", file=file, node=node)
    dense = info.type.tensor_type
    dims = dense.shape.dim
    if not dense.HasField("shape") or any(not d.HasField("dim_value") for d in dims):
        raise UnknownShape(
            f"the shape of '{name}' depends on data", file=file, node=node,
            hint="fix the model's input shapes, or simplify the model",
        )  # fmt: skip
    if dense.elem_type == TensorProto.STRING:
        raise CompileError(f"'{name}' holds strings", file=file, node=node)
    if math.prod(d.dim_value for d in dims) > MOST_ELEMENTS:
        shape = "x".join(str(d.dim_value) for d in dims)
        raise CompileError(f"'{name}' of shape {shape} is too large", file=file, node=node)
    dtype = helper.tensor_dtype_to_np_dtype(dense.elem_type)
    return Tensor(name, tuple(d.dim_value for d in dims), np.dtype(dtype))
