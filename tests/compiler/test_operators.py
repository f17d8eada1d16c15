"""Each operator equals onnxruntime's QLinear kernel in every element, over random cases."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from onnx import ModelProto, helper

from dnncc.frontend.importer import import_model
from dnncc.ir.interpret import interpret
from dnncc.ir.verify import verify
from dnncc.passes.assign_layout import assign_layout
from dnncc.passes.canonicalize import canonicalize
from dnncc.passes.context import Context
from dnncc.passes.fold_constants import fold_constants
from dnncc.passes.fuse import fuse
from dnncc.passes.legalize import legalize
from dnncc.passes.partition import partition
from tests.models import make_model, random_feeds
from tests.oracle import run

PASSES = (fold_constants, canonicalize, legalize, fuse, partition, assign_layout)
MICROSOFT = "com.microsoft"
Arrays = dict[str, Any]


class Case:
    """Random numbers for one node of QOperator form, and the model that holds it."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.dtype = np.dtype(("uint8", "int8")[seed % 2])
        self.constants: Arrays = {}
        self.inputs: Arrays = {}

    def pick(self, low: int, high: int) -> int:
        return int(self.rng.integers(low, high + 1))

    def integers(self, shape: Any, dtype: Any = None) -> Any:
        dtype = np.dtype(dtype or self.dtype)
        info = np.iinfo(dtype)
        return self.rng.integers(info.min, info.max + 1, shape).astype(dtype)

    def scale(self, shape: Any = ()) -> Any:
        return self.rng.uniform(0.002, 0.1, shape).astype(np.float32)

    def constant(self, name: str, value: Any) -> str:
        self.constants[name] = np.asarray(value)
        return name

    def value(self, name: str, shape: Any, constant: bool = False) -> list[str]:
        """A quantised operand: its name, scale and zero point."""
        if constant:
            self.constant(name, self.integers(shape))
        else:
            self.inputs[name] = (self.dtype, tuple(shape))
        return [name, *self.quant(name)]

    def quant(self, name: str, scale: Any = None) -> list[str]:
        scale = self.scale() if scale is None else scale
        zero = self.integers(())
        return [self.constant(f"{name}_scale", scale), self.constant(f"{name}_zero", zero)]

    def model(
        self, op: str, inputs: list[str], domain: str = MICROSOFT, **attrs: Any
    ) -> ModelProto:
        node = helper.make_node(op, inputs, ["y"], domain=domain, name="tested", **attrs)
        model = make_model([node], self.inputs, {"y": (self.dtype, None)}, self.constants)
        return model


def conv(case: Case) -> ModelProto:
    group = (1, 1, 2, 4)[case.pick(0, 3)]
    depth = 1 if group == 4 else case.pick(1, 5)
    k, taps = group * case.pick(1, 3), (case.pick(1, 4), case.pick(1, 4))
    x = case.value("x", (case.pick(1, 2), group * depth, case.pick(7, 12), case.pick(7, 12)))
    w = case.constant("w", case.integers((k, depth, *taps)))
    many = case.pick(0, 1)
    ws = case.constant("ws", case.scale((k,) if many else ()))
    zero = case.integers(()) if case.dtype == np.uint8 else np.int8(0)
    wz = case.constant("wz", np.full(k, zero) if many else zero)
    bias = [case.constant("b", case.rng.integers(-3000, 3000, k).astype(np.int32))]
    y = case.quant("y", np.float32(0.05 * np.sqrt(depth * taps[0] * taps[1])))
    attrs = {"strides": [case.pick(1, 3), case.pick(1, 3)], "group": group}
    attrs["dilations"] = [case.pick(1, 2), case.pick(1, 2)]
    attrs["pads"] = [case.pick(0, 2) for _ in range(4)]
    return case.model("QLinearConv", [*x, w, ws, wz, *y, *bias[: case.pick(0, 1)]], "", **attrs)


def conv_same(case: Case) -> ModelProto:
    x = case.value("x", (1, 3, case.pick(7, 12), case.pick(7, 12)))
    w = case.constant("w", case.integers((4, 3, 3, 2)))
    inputs = [*x, w, case.constant("ws", case.scale()), case.constant("wz", case.dtype.type(0))]
    mode = ("SAME_UPPER", "SAME_LOWER", "VALID")[case.pick(0, 2)]
    strides = [case.pick(1, 3), case.pick(1, 3)]
    return case.model(
        "QLinearConv", [*inputs, *case.quant("y", np.float32(0.3))], "",
        auto_pad=mode, strides=strides,
    )  # fmt: skip


def conv_1d(case: Case) -> ModelProto:
    x = case.value("x", (2, 3, case.pick(9, 20)))
    w = case.constant("w", case.integers((5, 3, 4)))
    inputs = [*x, w, case.constant("ws", case.scale()), case.constant("wz", case.dtype.type(0))]
    y = case.quant("y", np.float32(0.2))
    return case.model("QLinearConv", [*inputs, *y], "", strides=[2], pads=[case.pick(0, 2), 1])


def matmul(case: Case) -> ModelProto:
    m, k, n = case.pick(1, 6), case.pick(1, 70), case.pick(1, 9)
    a = case.value("a", ((2, m, k), (m, k))[case.pick(0, 1)])
    b = [case.constant("b", case.integers((k, n)))]
    many = case.pick(0, 1)
    b += [case.constant("bs", case.scale((n,) if many else ()))]
    b += [case.constant("bz", np.zeros((n,) if many else (), case.dtype))]
    return case.model("QLinearMatMul", [*a, *b, *case.quant("y", np.float32(0.3))], "")


def gemm(case: Case) -> ModelProto:
    k, n, turned = case.pick(1, 70), case.pick(1, 9), case.pick(0, 1)
    a = case.value("a", (case.pick(1, 4), k))
    b = case.constant("b", case.integers((n, k) if turned else (k, n)))
    bs, bz = case.constant("bs", case.scale()), case.constant("bz", case.integers(()))
    c = case.constant("c", case.rng.integers(-3000, 3000, n).astype(np.int32))
    y = case.quant("y", np.float32(0.3))
    return case.model("QGemm", [*a, b, bs, bz, c, *y], transB=turned)


def binary(op: str) -> Callable[[Case], ModelProto]:
    def make(case: Case) -> ModelProto:
        shape = (2, 3, 4, 5)
        other = (shape, shape, (3, 1, 1), (5,))[case.pick(0, 3)]
        shapes = [shape, other][:: (1, -1)[case.pick(0, 1)]]
        operands = [*case.value("a", shapes[0]), *case.value("b", shapes[1])]
        return case.model(op, [*operands, *case.quant("y")])

    return make


def average(case: Case) -> ModelProto:
    kernel = [case.pick(1, 4), case.pick(1, 4)]
    x = case.value("x", (2, 3, case.pick(5, 9), case.pick(5, 9)))
    attrs: Arrays = {"kernel_shape": kernel, "strides": [case.pick(1, 3), case.pick(1, 3)]}
    attrs["pads"] = [case.pick(0, n - 1) for n in (*kernel, *kernel)]
    attrs |= {"count_include_pad": case.pick(0, 1), "ceil_mode": case.pick(0, 1)}
    return case.model("QLinearAveragePool", [*x, *case.quant("y")], **attrs)


def global_average(case: Case) -> ModelProto:
    x = case.value("x", (2, 3, case.pick(1, 9), case.pick(1, 9)))
    return case.model("QLinearGlobalAveragePool", [*x, *case.quant("y")])


def largest(case: Case) -> ModelProto:
    kernel = [case.pick(1, 4), case.pick(1, 4)]
    case.value("x", (2, 3, case.pick(7, 9), case.pick(7, 9)))
    attrs: Arrays = {"kernel_shape": kernel, "strides": [case.pick(1, 3), case.pick(1, 3)]}
    attrs["pads"] = [case.pick(0, n - 1) for n in (*kernel, *kernel)]
    attrs |= {"ceil_mode": case.pick(0, 1), "dilations": [case.pick(1, 2), 1]}
    return case.model("MaxPool", ["x"], "", **attrs)


def concat(case: Case) -> ModelProto:
    parts = [*case.value("a", (1, 2, 3, 4)), *case.value("b", (1, 5, 3, 4))]
    return case.model("QLinearConcat", [*case.quant("y"), *parts], axis=(1, -3)[case.pick(0, 1)])


def unary(op: str, **attrs: Any) -> Callable[[Case], ModelProto]:
    return lambda case: case.model(op, [*case.value("x", (3, 70)), *case.quant("y")], **attrs)


def softmax(case: Case) -> ModelProto:
    x = case.value("x", (3, case.pick(2, 70)))
    zero = case.constant("yz", np.array(np.iinfo(case.dtype).min, case.dtype))
    scale = case.constant("ys", np.float32(1 / 256))
    return case.model("QLinearSoftmax", [*x, scale, zero], axis=-1, opset=13)


KINDS = {
    "conv": conv, "conv_same": conv_same, "conv_1d": conv_1d, "matmul": matmul, "gemm": gemm,
    "add": binary("QLinearAdd"), "mul": binary("QLinearMul"), "average": average,
    "global_average": global_average, "largest": largest, "concat": concat,
    "leaky": unary("QLinearLeakyRelu", alpha=0.1), "sigmoid": unary("QLinearSigmoid"),
    "softmax": softmax,
}  # fmt: skip


@pytest.mark.parametrize("seed", range(16))
@pytest.mark.parametrize("kind", KINDS)
def test_operator_equals_onnxruntime(kind: str, seed: int) -> None:
    model = KINDS[kind](Case(seed))
    feeds = random_feeds(model, seed)
    graph = import_model(with_shapes(model))
    for run_pass in PASSES:
        graph = run_pass(graph, Context())
        verify(graph)
    values = interpret(graph, feeds)
    np.testing.assert_array_equal(values["y"], run(model, feeds)["y"])
    hosts = [node for node in graph.nodes if node.op == "host"]
    assert not hosts


def with_shapes(model: ModelProto) -> ModelProto:
    """Outputs are inferred: their declared shapes are left out."""
    for value in model.graph.output:
        value.type.tensor_type.ClearField("shape")
    return model
