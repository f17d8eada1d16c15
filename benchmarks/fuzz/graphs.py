"""Random convolutional quantised networks: branches, odd shapes, odd windows, odd scales.

`network(seed, wide)` is a function of these alone. Feature maps are (1, C, H, W) or (1, C, L)
integers of one type; each operator stands between DequantizeLinear and QuantizeLinear, or is its
QOperator.

Where onnxruntime sums in float32 (transposed convolutions, linear interpolation, and all products
of 16 bits), scales are powers of two and weights small, so that its sums are exact, too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from math import frexp, log2, prod, sqrt
from typing import Any

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

MICROSOFT = "com.microsoft"
KINDS = {"int8": TensorProto.INT8, "uint8": TensorProto.UINT8, "int16": TensorProto.INT16}
SPREAD = {"int8": 40.0, "uint8": 40.0, "int16": 10240.0}
"""Standard deviation, in steps, that scales are chosen for, by type."""

IR_VERSION = 10
OPSETS, WIDE_OPSET = (13, 17, 19), 21
"""From 21 on, QuantizeLinear gives 16 bits; onnxruntime fails on some int8 networks of it."""

MOST = 6000
"""Elements of a feature map, at most."""


@dataclass(frozen=True)
class Value:
    """A quantised tensor: real = scale * (q - zero)."""

    name: str
    shape: tuple[int, ...]
    scale: float
    zero: int
    steps: float

    @property
    def spread(self) -> float:
        """Standard deviation of the real numbers."""
        return self.scale * self.steps

    @property
    def is_exact(self) -> bool:
        """Its scale is a power of two, so that float32 holds each real number."""
        return frexp(self.scale)[0] == 0.5


@dataclass
class Network:
    """A network that grows; `dtype` is the type of feature maps, `qoperator` the form.

    `wide` if feature maps are int16.
    """

    seed: int
    wide: bool = False
    nodes: list[NodeProto] = field(default_factory=list)
    constants: dict[str, Any] = field(default_factory=dict)
    values: list[Value] = field(default_factory=list)
    inputs: list[Value] = field(default_factory=list)
    reals: dict[str, str] = field(default_factory=dict)
    named: int = 0

    def __post_init__(self) -> None:
        self.rng = np.random.default_rng(self.seed)
        self.dtype = "int16" if self.wide else self.choose(["int8", "uint8"])
        self.weights = self.choose(["int8", "uint8"]) if self.dtype == "uint8" else "int8"
        self.qoperator = bool(self.rng.integers(3) == 0) and not self.wide
        self.opset = WIDE_OPSET if self.wide else self.choose(OPSETS)
        self.spatial = 1 if self.rng.integers(6) == 0 else 2
        sizes = self.rng.integers(4, 20, self.spatial) if self.spatial == 2 else [37]
        shape = (1, int(self.rng.integers(1, 9)), *(int(n) for n in sizes))
        self.inputs.append(self.value(shape, 0.4))
        self.values.append(self.inputs[0])

    def choose(self, options: Sequence[Any]) -> Any:
        return options[int(self.rng.integers(len(options)))]

    def maybe(self, one_in: int = 2) -> bool:
        return bool(self.rng.integers(one_in) == 0)

    def value(self, shape: Sequence[int], spread: float, exact: bool = False) -> Value:
        """A new value whose real numbers spread about that far; `exact` asks for is_exact."""
        steps, info = SPREAD[self.dtype], np.iinfo(self.dtype)
        scale = float(np.float32(spread / steps * self.rng.uniform(0.5, 1.5)))
        if exact or self.maybe():
            scale = 2.0 ** round(log2(scale))
        low, high = int(info.min), int(info.max) + 1
        zero = self.choose([0, low, (low + high) // 2, int(self.rng.integers(low, high))])
        self.named += 1
        return Value(f"v{self.named}", tuple(shape), scale, 0 if self.wide else zero, steps)

    def constant(self, value: Any) -> str:
        name = f"c{len(self.constants)}"
        self.constants[name] = np.asarray(value)
        return name

    def parameters(self, value: Value) -> list[str]:
        kind = np.dtype(self.dtype)
        return [self.constant(np.float32(value.scale)), self.constant(kind.type(value.zero))]

    def add(self, op: str, inputs: Sequence[str], output: str, **attrs: Any) -> str:
        domain = MICROSOFT if op.startswith("Q") and op not in QDQ_OPS else ""
        name = f"{op}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, inputs, [output], name, domain=domain, **attrs))
        return output

    def real(self, value: Value) -> str:
        """Its DequantizeLinear, one for all readers or one each."""
        if value.name not in self.reals or self.maybe():
            name = f"{value.name}_real{len(self.nodes)}"
            inputs = [value.name, *self.parameters(value)]
            self.reals[value.name] = self.add("DequantizeLinear", inputs, name)
        return self.reals[value.name]

    def quantised(self, real: str, value: Value) -> Value:
        """`value` is what `real` is quantised to, behind a clamp or not."""
        if self.maybe(3):
            real = self.add("Relu", [real], f"{value.name}_relu")
        elif self.maybe(5):
            names = [self.constant(np.float32(part * value.spread)) for part in (-0.5, 1.5)]
            real = self.add("Clip", [real, *names], f"{value.name}_clip")
        self.add("QuantizeLinear", [real, *self.parameters(value)], value.name)
        return value

    def keep(self, value: Value) -> Value:
        self.values.append(value)
        return value

    def computed(
        self,
        op: str,
        operands: Sequence[Value],
        shape: Sequence[int],
        spread: float,
        exact: bool = False,
        extra: Sequence[str] = (),
        **attrs: Any,
    ) -> Value:
        """The result of a float operator, in QDQ form; `extra` inputs are float or integer.

        Half of those that keep about the values of their operand have its scale, as quantisers do;
        of averages those whose sums are exact, as onnxruntime's order of others has no rule.
        """
        result, exact = self.value(shape, spread, exact), exact or op.endswith("AveragePool")
        if op in ALIKE and (operands[0].is_exact or not exact) and self.maybe():
            result = replace(operands[0], name=result.name, shape=result.shape)
        inputs = [*(self.real(v) for v in operands), *extra]
        real = self.add(op, inputs, f"{result.name}_float", **attrs)
        return self.keep(self.quantised(real, result))

    def model(self) -> ModelProto:
        last = self.values[-1]
        used = {name for node in self.nodes for name in node.input}
        loose = [v for v in self.values if v.name not in used and v is not last][:2]
        kind = KINDS[self.dtype]
        outputs = [
            helper.make_tensor_value_info(v.name, kind, v.shape)
            for v in (last, *loose)
            if v not in self.inputs
        ]
        inputs = [helper.make_tensor_value_info(v.name, kind, v.shape) for v in self.inputs]
        constants = [numpy_helper.from_array(v, k) for k, v in self.constants.items() if k in used]
        graph = helper.make_graph(self.nodes, f"seed-{self.seed}", inputs, outputs, constants)
        opsets = [helper.make_opsetid("", self.opset), helper.make_opsetid(MICROSOFT, 1)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION)


ALIKE = ("AveragePool", "GlobalAveragePool", "Concat", "Resize", "Pad", "Transpose", "LeakyRelu")
QDQ_OPS = ("QuantizeLinear", "QLinearConv", "QLinearMatMul")


def network(seed: int, wide: bool = False) -> ModelProto:
    """Twelve operators, or as many as fit, and a classifier or not."""
    from .growth import GROWTHS, classify
    from .resampling import RESAMPLING

    net = Network(seed, wide)
    for _ in range(int(net.rng.integers(3, 13))):
        x = net.choose(net.values[-4:])
        net.choose(GROWTHS + RESAMPLING)(net, x)
    while len(net.values) == 1:
        net.choose(GROWTHS)(net, net.values[0])
    if net.maybe(3):
        classify(net, net.values[-1])
    return net.model()


def small(shape: Sequence[int]) -> bool:
    return prod(shape) <= MOST


def root(n: int) -> float:
    return sqrt(max(n, 1))
