"""Single operators between DequantizeLinear and QuantizeLinear, drawn at random; their check."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from hypothesis import Phase, settings
from hypothesis import strategies as st
from onnx import ModelProto, helper

import dnncc
from dnncc.frontend.importer import import_model
from dnncc.ir.graph import Graph
from dnncc.ir.interpret import interpret
from dnncc.ir.text import parse_graph, print_graph, resources
from dnncc.ir.verify import verify
from dnncc.isa import elf
from dnncc.passes.context import Context
from dnncc.runtime import load
from tests.compiler.small import PASSES
from tests.e2e.running import ODD, TARGETS
from tests.models import make_model
from tests.oracle import run

WIDE = ("eyeriss-like", "shidiannao-like", "diannao-like")
"""Targets that multiply 16 bits."""

EVERYWHERE = (*TARGETS, "gemmini-like", "shidiannao-like", ODD)
SOME = settings(max_examples=8, deadline=None, derandomize=True, phases=[Phase.generate])
"""A failing case is told as it is: each takes too long for many smaller ones to be tried."""

Draw = Callable[[st.SearchStrategy[Any]], Any]


class Sketch:
    """Nodes around one operator; its quantised result is y. Values are drawn, and seeded."""

    def __init__(self, draw: Draw, dtypes: Sequence[str] = ("uint8", "int8")) -> None:
        self.draw = draw
        self.rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
        self.dtype = np.dtype(draw(st.sampled_from(dtypes)))
        self.nodes: list[Any] = []
        self.feeds: dict[str, Any] = {}
        self.constants: dict[str, Any] = {}

    def pick(self, low: int, high: int) -> int:
        return int(self.draw(st.integers(low, high)))

    def choose(self, *values: Any) -> Any:
        return self.draw(st.sampled_from(values))

    def integers(self, shape: Any, dtype: Any = None) -> Any:
        info = np.iinfo(dtype or self.dtype)
        return self.rng.integers(info.min, info.max + 1, shape).astype(info.dtype)

    def constant(self, name: str, value: Any) -> str:
        self.constants[name] = np.asarray(value)
        return name

    def quant(self, name: str, scale: Any = None, zero: Any = None) -> list[str]:
        scale = self.rng.uniform(0.01, 0.05) if scale is None else scale
        zero = self.integers(()) if zero is None else zero
        return [
            self.constant(f"{name}_scale", np.float32(scale)),
            self.constant(f"{name}_zero", zero),
        ]

    def add(self, op: str, inputs: Sequence[str], output: str, **attrs: Any) -> str:
        self.add_many(op, inputs, [output], **attrs)
        return output

    def add_many(
        self, op: str, inputs: Sequence[str], outputs: Sequence[str], **attrs: Any
    ) -> None:
        node = helper.make_node(op, inputs, outputs, name=f"N_{outputs[0]}", **attrs)
        self.nodes.append(node)

    def value(self, name: str, shape: Sequence[int]) -> str:
        """The real value of an input."""
        self.feeds[name] = self.integers(tuple(shape))
        return self.add("DequantizeLinear", [name, *self.quant(name)], f"{name}_real")

    def weight(self, name: str, shape: Sequence[int], axis: int | None = None) -> str:
        """The real value of a constant, symmetric, with a scale for each index of `axis`."""
        self.constant(name, self.integers(tuple(shape), np.uint8))
        many = () if axis is None else (shape[axis],)
        quant = self.quant(name, self.rng.uniform(0.01, 0.05, many), np.full(many, 128, np.uint8))
        attrs = {} if axis is None else {"axis": axis}
        return self.add("DequantizeLinear", [name, *quant], f"{name}_real", **attrs)

    def model(self, result: str, scale: Any = None, opset: int = 13, like: str = "") -> ModelProto:
        """`result`, quantised as y, or with the parameters of input `like`."""
        quant = [f"{like}_scale", f"{like}_zero"] if like else self.quant("y", scale)
        self.add("QuantizeLinear", [result, *quant], "y")
        outputs = {"y": (self.dtype, None)}
        model = make_model(self.nodes, self.feeds, outputs, self.constants, opset)
        for value in model.graph.output:
            value.type.tensor_type.ClearField("shape")
        return model


def check(
    sketch: Sketch, model: ModelProto, steps: int = 0, targets: Sequence[str] = EVERYWHERE
) -> None:
    """Values after each pass, from `legalize` on, and from a binary are at most `steps` from
    onnxruntime's, and the accelerator computes them. (onnx.reference has its own faults.)"""
    expected = run(model, sketch.feeds)["y"]
    graph = import_model(model)
    for run_pass in PASSES:
        graph = run_pass(graph, Context())
        verify(graph)
        if run_pass.__name__ in ("fold_constants", "recenter", "canonicalize"):
            continue
        near(interpret(graph, sketch.feeds)["y"], expected, steps)
    assert print_graph(parse_graph(print_graph(graph), resources(graph))) == print_graph(graph)
    assert reasons(graph) == {}
    artifact = dnncc.compile(model, sketch.choose(*targets))
    (got,) = load(elf.write(artifact.image)).run(None, sketch.feeds)
    near(got, expected, steps)
    assert reasons(artifact.graph) == {}


def near(got: Any, expected: Any, steps: int) -> None:
    assert (got.dtype, got.shape) == (expected.dtype, expected.shape)
    np.testing.assert_allclose(got.astype(np.int64), expected, rtol=0, atol=steps)


def reasons(graph: Graph) -> Mapping[str, Any]:
    return {n.loc[0]: n.attrs["reason"] for n in graph.nodes if n.op == "host"}
