"""dnncc as an ONNX backend: the interface of onnx.backend.base, with the simulator as the machine.

    import dnncc.backend as backend
    outputs = backend.run_model(model, [array], device="eyeriss-like")

A device is the name of a target, or "CPU" for the default one. A float model keeps its values: it
is quantised only if `precision` asks for that, so the host runs its float operators.
This is where the compiler meets the runtime: what is compiled is run by the simulator.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from msgspec.structs import replace
from onnx import ModelProto, NodeProto, TypeProto, helper, numpy_helper
from onnx.backend.base import Backend, BackendRep, namedtupledict

from dnncc import targets

from .diagnostics import CompileError, UnknownShape
from .driver import compile_model
from .ir.graph import Array
from .options import Options

CPU = "CPU"
DEFAULT = Options(precision="float")
Shapes = Mapping[str, tuple[int, ...]]
NOTHING: Mapping[str, Array] = MappingProxyType({})
LARGEST_OPERAND = 64
"""Elements of an input that a shape may be computed from."""


class Prepared(BackendRep):
    """A model with its binaries, one per set of input shapes: the first at once if it is static."""

    def __init__(self, model: ModelProto, options: Options) -> None:
        """Raises CompileError."""
        self.model, self.options = model, options
        self.inputs = free_inputs(model)
        self.outputs = [v.name for v in model.graph.output]
        self.sessions: dict[tuple[Any, ...], Any] = {}
        if all(map(is_static, self.inputs)):
            with suppress(UnknownShape):  # it is known when values are
                self.session({})

    def run(self, inputs: Any, **kwargs: Any) -> Any:
        """The outputs, a named tuple of arrays. Raises CompileError, RunError.

        `inputs` are arrays in the model's order or by name; symbolic dimensions are those of them.
        """
        feeds = self.feeds(inputs)
        try:
            session = self.session(self.binding(feeds))
        except UnknownShape:
            bound = {name: feeds.pop(name) for name in shape_operands(feeds)}
            session = self.session(self.binding(feeds), bound)
        return namedtupledict("Outputs", self.outputs)(*session.run(self.outputs, feeds))

    def binding(self, feeds: Mapping[str, Array]) -> dict[str, tuple[int, ...]]:
        """The shapes of the inputs, if not all are in the model."""
        static = all(map(is_static, self.inputs))
        return {} if static else {name: value.shape for name, value in feeds.items()}

    def feeds(self, inputs: Any) -> dict[str, Array]:
        if isinstance(inputs, Mapping):
            return {name: array_of(name, value) for name, value in inputs.items()}
        given = [inputs] if isinstance(inputs, np.ndarray) else list(inputs)
        names = [v.name for v in self.inputs]
        if len(given) != len(names):
            raise CompileError(f"the model takes {len(names)} inputs, {len(given)} are given")
        return {name: array_of(name, value) for name, value in zip(names, given, strict=True)}

    def session(self, shapes: Shapes, bound: Mapping[str, Array] = NOTHING) -> Any:
        """The model's binary for inputs of these shapes, and those values of the `bound` ones."""
        from dnncc.runtime import load

        key = (*sorted(shapes.items()), *((k, v.tobytes()) for k, v in sorted(bound.items())))
        if key not in self.sessions:
            options = replace(self.options, shapes=dict(shapes))
            model = with_constants(self.model, bound) if bound else self.model
            self.sessions[key] = load(compile_model(model, options).image)
        return self.sessions[key]


class DnnccBackend(Backend):
    """Options of the compiler, such as `precision` or `strict`, are keywords of `prepare`."""

    @classmethod
    def is_compatible(cls, model: ModelProto, device: str = CPU, **options: Any) -> bool:
        """Whether the model compiles; one of dynamic shapes is tried when it is run."""
        try:
            cls.prepare(model, device, **options)
        except CompileError:
            return False
        return True

    @classmethod
    def prepare(cls, model: ModelProto, device: str = CPU, **options: Any) -> Prepared:
        """Raises CompileError for a model, TargetError for a device."""
        target = DEFAULT.target if device == CPU else device
        return Prepared(model, replace(DEFAULT, target=target, **options))

    @classmethod
    def run_model(cls, model: ModelProto, inputs: Any, device: str = CPU, **options: Any) -> Any:
        """The outputs of one run, as those of `Prepared.run`."""
        return cls.prepare(model, device, **options).run(inputs)

    @classmethod
    def run_node(
        cls,
        node: NodeProto,
        inputs: Any,
        device: str = CPU,
        outputs_info: Sequence[tuple[Any, tuple[int, ...]]] | None = None,
        **options: Any,
    ) -> Any:
        """The outputs of one node; `opset_version` is that of its operator, else the newest."""
        version = options.pop("opset_version", None)
        return cls.run_model(model_of(node, inputs, version), inputs, device, **options)

    @classmethod
    def supports_device(cls, device: str) -> bool:
        """Targets by name, or by the path of their file."""
        return device == CPU or device in targets.names() or Path(device).suffix == ".toml"


def free_inputs(model: ModelProto) -> list[Any]:
    """The inputs that are not constants, which old models list, too."""
    constants = {t.name for t in model.graph.initializer}
    return [v for v in model.graph.input if v.name not in constants]


def is_static(value: Any) -> bool:
    dense = value.type.tensor_type
    return dense.HasField("shape") and all(d.dim_value > 0 for d in dense.shape.dim)


def array_of(name: str, value: Any) -> Array:
    """Raises CompileError for a sequence or nothing, which are no tensors."""
    if value is None or isinstance(value, (list, tuple, Mapping)):
        raise CompileError(f"input '{name}' is not a tensor")
    return np.asarray(value)


def shape_operands(feeds: Mapping[str, Array]) -> list[str]:
    """The inputs that shapes can be computed from: a few numbers, in at most one dimension.

    Vectors of real numbers, as Resize has, are among them if they are not the first input.
    """
    small = [k for k, v in feeds.items() if v.ndim <= 1 and v.size <= LARGEST_OPERAND]
    return [
        k for k in small if not feeds[k].ndim or feeds[k].dtype.kind in "iub" or k != [*feeds][0]
    ]


def with_constants(model: ModelProto, values: Mapping[str, Array]) -> ModelProto:
    """The model with those inputs as constants."""
    changed = ModelProto()
    changed.CopyFrom(model)
    kept = [v for v in changed.graph.input if v.name not in values]
    del changed.graph.input[:]
    changed.graph.input.extend(kept)
    changed.graph.initializer.extend(numpy_helper.from_array(v, k) for k, v in values.items())
    return changed


def model_of(node: NodeProto, inputs: Sequence[Any], version: int | None) -> ModelProto:
    """A model of one node; its inputs have the shapes and types of the arrays."""
    names = [name for name in node.input if name]
    values = [
        helper.make_tensor_value_info(k, helper.np_dtype_to_tensor_dtype(v.dtype), v.shape)
        for k, v in zip(names, map(np.asarray, inputs), strict=True)
    ]
    outputs = [helper.make_value_info(name, TypeProto()) for name in node.output if name]
    graph = helper.make_graph([node], node.op_type, values, outputs)
    opsets = [helper.make_opsetid(node.domain, version)] if version else None
    return helper.make_model(graph, opset_imports=opsets)


is_compatible = DnnccBackend.is_compatible
prepare = DnnccBackend.prepare
run_model = DnnccBackend.run_model
run_node = DnnccBackend.run_node
supports_device = DnnccBackend.supports_device
