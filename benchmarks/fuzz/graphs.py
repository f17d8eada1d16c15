"""Random convolutional quantised networks: branches, odd shapes, odd windows, odd scales.

`network(seed)` is a function of the seed alone. Feature maps are (1, C, H, W) or (1, C, L) integers
of one type; each operator stands between DequantizeLinear and QuantizeLinear, or is its QOperator.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import prod, sqrt
from typing import Any

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

MICROSOFT = "com.microsoft"
KINDS = {"int8": TensorProto.INT8, "uint8": TensorProto.UINT8}
SPREAD = 40.0
"""Standard deviation, in steps, that scales are chosen for."""

MOST = 6000
"""Elements of a feature map, at most."""


@dataclass(frozen=True)
class Value:
    """A quantised tensor: real = scale * (q - zero)."""

    name: str
    shape: tuple[int, ...]
    scale: float
    zero: int


@dataclass
class Network:
    """A network that grows; `dtype` is the type of feature maps, `qoperator` the form."""

    seed: int
    nodes: list[NodeProto] = field(default_factory=list)
    constants: dict[str, Any] = field(default_factory=dict)
    values: list[Value] = field(default_factory=list)
    inputs: list[Value] = field(default_factory=list)
    reals: dict[str, str] = field(default_factory=dict)
    named: int = 0

    def __post_init__(self) -> None:
        self.rng = np.random.default_rng(self.seed)
        self.dtype = self.choose(["int8", "uint8"])
        self.weights = self.choose(["int8", "uint8"]) if self.dtype == "uint8" else "int8"
        self.qoperator = bool(self.rng.integers(3) == 0)
        self.spatial = 1 if self.rng.integers(6) == 0 else 2
        sizes = self.rng.integers(4, 20, self.spatial) if self.spatial == 2 else [37]
        shape = (1, int(self.rng.integers(1, 9)), *(int(n) for n in sizes))
        self.inputs.append(self.value(shape, SPREAD / 100))
        self.values.append(self.inputs[0])

    def choose(self, options: Sequence[Any]) -> Any:
        return options[int(self.rng.integers(len(options)))]

    def maybe(self, one_in: int = 2) -> bool:
        return bool(self.rng.integers(one_in) == 0)

    def value(self, shape: Sequence[int], spread: float) -> Value:
        """A new value whose real numbers spread about that far."""
        scale = float(np.float32(spread / SPREAD * self.rng.uniform(0.5, 1.5)))
        low = 0 if self.dtype == "uint8" else -128
        zero = self.choose([0, low, low + 128, int(self.rng.integers(low, low + 256))])
        self.named += 1
        return Value(f"v{self.named}", tuple(shape), scale, zero)

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
            bounds = np.float32(-0.5 * SPREAD * value.scale), np.float32(1.5 * SPREAD * value.scale)
            names = [self.constant(bound) for bound in bounds]
            real = self.add("Clip", [real, *names], f"{value.name}_clip")
        self.add("QuantizeLinear", [real, *self.parameters(value)], value.name)
        return value

    def keep(self, value: Value) -> Value:
        self.values.append(value)
        return value

    def computed(
        self, op: str, operands: Sequence[Value], shape: Sequence[int], spread: float, **attrs: Any
    ) -> Value:
        """The result of a float operator, in QDQ form."""
        result = self.value(shape, spread)
        real = self.add(op, [self.real(v) for v in operands], f"{result.name}_float", **attrs)
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
        opsets = [helper.make_opsetid("", 13), helper.make_opsetid(MICROSOFT, 1)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=8)


QDQ_OPS = ("QuantizeLinear", "QLinearConv", "QLinearMatMul")


def spread_of(value: Value) -> float:
    return value.scale * SPREAD


def network(seed: int) -> ModelProto:
    """Twelve operators, or as many as fit, and a classifier or not."""
    from .growth import GROWTHS, classify

    net = Network(seed)
    for _ in range(int(net.rng.integers(3, 13))):
        x = net.choose(net.values[-4:])
        net.choose(GROWTHS)(net, x)
    if len(net.values) == 1:
        net.choose(GROWTHS[:1])(net, net.values[0])
    if net.maybe(3):
        classify(net, net.values[-1])
    return net.model()


def small(shape: Sequence[int]) -> bool:
    return prod(shape) <= MOST


def root(n: int) -> float:
    return sqrt(max(n, 1))
