"""Every quantised tensor of a model, as onnxruntime's default session computes it, exactly.

The session's own graph is taken, after its optimisations, and run as it stands with its inner
tensors for outputs: as outputs of the model they would keep it from fusing. The passes that only
move integers are off, so that these have ONNX's layout; real numbers are blocked by channels as in
the session, since an average pool of such blocks adds in another order.
"""

import tempfile
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, TensorProto, ValueInfoProto

from tests.oracle import Arrays, exact, ort

MOVING = ["NhwcTransformer", "NchwTransformer", "TransposeOptimizer"]
SUMS = ("Conv", "FusedConv", "ConvTranspose", "Gemm", "MatMul", "LRN")
PASSING = ("Relu", "Clip", "Add", "MaxPool")
QUANTISED = {
    TensorProto.INT8: np.int8,
    TensorProto.UINT8: np.uint8,
    TensorProto.INT16: np.int16,
    TensorProto.UINT16: np.uint16,
}
FUSED = "/MatMulAddFusion"
"""What onnxruntime puts behind the name of a MatMul that has taken its bias."""


class Reference:
    """The outputs and the inner quantised tensors of a model, by their names in it."""

    def __init__(self, model: ModelProto) -> None:
        self.model = model
        self.session = session(exact(model))

    def outputs(self, feeds: Mapping[str, Any]) -> Arrays:
        names = [v.name for v in self.session.get_outputs()]
        return dict(zip(names, self.session.run(names, dict(feeds)), strict=True))

    def inner(self, feeds: Mapping[str, Any]) -> Arrays:
        """The results of QuantizeLinear and of QOperators, of their type in the model."""
        model, opened = self.opened
        names = [v.name for v in opened.get_outputs()]
        values = dict(zip(names, opened.run(names, dict(feeds)), strict=True))
        for name, value in self.outputs(feeds).items():
            np.testing.assert_array_equal(values[name], value, "not the default session's values")
        return dict(self.named(model, values))

    def summed_in_float(self) -> set[str]:
        """The quantised tensors that are sums of many products which the session adds in float32.

        Their last bits depend on the order of the sum, and so on the machine.
        """
        model, _ = self.opened
        types = quantised_types(self.model)
        ours = {node.name: node for node in self.model.graph.node}
        makers = {o: node for node in model.graph.node for o in node.output}
        found = [n for n in model.graph.node if n.op_type == "QuantizeLinear"]
        sums = [n for n in found if is_float_sum(makers, n.input[0], types)]
        return {
            n.output[0] if n.output[0] in types else quantised_by(ours, self.model, n) for n in sums
        }

    @cached_property
    def opened(self) -> tuple[ModelProto, Any]:
        """The optimised graph, and a session that gives all its values."""
        with tempfile.TemporaryDirectory() as folder:
            path = str(Path(folder) / "optimised.onnx")
            session(exact(self.model), disabled=MOVING, optimized_model_filepath=path)
            model = onnx.load(path)
        known = {v.name for v in model.graph.output}
        every = [o for node in model.graph.node for o in node.output if o and o not in known]
        model.graph.output.extend(ValueInfoProto(name=name) for name in every)
        as_is = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        return model, session(model, graph_optimization_level=as_is)

    def named(self, optimised: ModelProto, values: Arrays) -> Any:
        """onnxruntime makes uint8 of int8 values, under new names; node names lead back to ours."""
        types = quantised_types(self.model)
        ours = {node.name: node for node in self.model.graph.node}
        for node in optimised.graph.node:
            for output in node.output:
                name = output if output in types else quantised_by(ours, self.model, node)
                if name in types and values[output].dtype.kind in "iu":
                    yield name, as_type(values[output], types[name])


def is_float_sum(makers: Mapping[str, NodeProto], name: str, types: Mapping[str, Any]) -> bool:
    """Whether `name` is such a sum, behind a clamp, a bias or a pool that chooses; or behind a
    quantisation that the session has put before that, so no value of ours."""
    maker = makers.get(name)
    while maker is not None:
        passed = maker.op_type == "QuantizeLinear" and maker.output[0] not in types
        passed |= maker.op_type == "DequantizeLinear" and maker.input[0] not in types
        if not passed and maker.op_type not in PASSING:
            return maker.op_type in SUMS
        maker = makers.get(maker.input[0])
    return False


def session(model: ModelProto, disabled: list[str] | None = None, **settings: Any) -> Any:
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    for name, value in settings.items():
        setattr(options, name, value)
    return ort.InferenceSession(
        model.SerializeToString(),
        options,
        providers=["CPUExecutionProvider"],
        disabled_optimizers=disabled or [],
    )


def quantised_types(model: ModelProto) -> dict[str, Any]:
    """The type of each value that a QuantizeLinear or a QOperator makes."""
    zeros = {t.name: t.data_type for t in model.graph.initializer}
    types = {}
    for node in model.graph.node:
        kinds = [QUANTISED[zeros[i]] for i in node.input if zeros.get(i) in QUANTISED]
        if node.op_type.startswith(("Q", "QLinear")) and kinds:
            types[node.output[0]] = kinds[-1]
    return types


def quantised_by(ours: Mapping[str, NodeProto], model: ModelProto, node: NodeProto) -> str:
    """The name of the QuantizeLinear's result that `node` of the optimised graph computes."""
    found = ours.get(node.name.removesuffix(FUSED))
    while found is not None and not found.op_type.startswith("Q"):
        output = found.output[0]
        users = [n for n in model.graph.node if output in n.input]
        found = users[0] if len(users) == 1 else None
    return found.output[0] if found is not None else ""


def as_type(value: Any, dtype: Any) -> Any:
    if value.dtype == dtype:
        return value
    assert value.dtype == np.uint8 and dtype == np.int8
    return (value.astype(np.int16) - 128).astype(np.int8)
