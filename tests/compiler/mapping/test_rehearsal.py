"""Rehearsals of mappings beside the simulator, which has their instructions."""

from typing import Any

import numpy as np
import pytest
from onnx import ModelProto, NodeProto, helper

import dnncc
from dnncc.mapping.cost import Problem
from dnncc.mapping.lowering import workload
from dnncc.mapping.mapping import Mapping
from dnncc.mapping.rehearsal import rehearsed
from dnncc.runtime import load
from tests.compiler.mapping.exhaustive import Space
from tests.compiler.mapping.test_bound import TARGETS, layers
from tests.compiler.small import Sketch
from tests.models import make_model

NEAR = 0.01
SAMPLE = 3

Shapes = tuple[list[tuple[int, int, int, int]], int]
SHAPES: dict[str, Shapes] = {
    "3x3": ([(12, 8, 3, 1)], 7),
    "1x1": ([(20, 12, 1, 1)], 6),
    "depthwise": ([(12, 1, 3, 12)], 9),
}


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("shape", SHAPES)
def test_a_rehearsal_takes_the_cycles_of_the_program(shape: str, target: str) -> None:
    model: Any = layers(*SHAPES[shape])
    space = Space(model, target)
    every = list(space.mappings())
    for at in np.random.default_rng(5).choice(len(every), SAMPLE, replace=False):
        cycles = rehearsed(space.problem, every[at])
        simulated = space.cycles(every[at]) - space.machine.issue.start_cycles
        assert cycles == pytest.approx(simulated, rel=NEAR), every[at]


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("slots", [1, 2])
def test_a_map_that_joins_the_sums_comes_after_their_operands(target: str, slots: int) -> None:
    """A convolution and a sum; the channels are summed in two parts, before a row of results."""
    model = residual(16, 12, 6)
    given = {"steps": {"c": 8, "p": 1}, "order": ["p", "c"], "whole": []}
    made = dnncc.compile(model, target, mapping={"y": {**given, "slots": {"side_b": slots}}})
    (group,) = (node for node in made.graph.nodes if node.op == "group")
    problem = Problem(workload(group, made.graph, made.target), made.graph, made.target, {})
    mapping = Mapping.from_attr(group.attrs["mapping"])
    assert mapping.slots["side_b"] == slots
    simulated = load(made.image).profile.cycles - made.target.issue.start_cycles
    assert rehearsed(problem, mapping) == pytest.approx(simulated, rel=NEAR)


@pytest.mark.parametrize("target", ["nvdla-like-small", "nvdla-like-full", "tpu-like"])
@pytest.mark.parametrize("steps", [{"p": 1, "k": 16}, {"p": 2, "k": 8}, {"p": 5, "q": 2}])
@pytest.mark.parametrize(("op", "dilation"), [("MaxPool", 1), ("MaxPool", 2), ("AveragePool", 1)])
def test_a_pool_takes_what_was_rehearsed(
    op: str, dilation: int, steps: dict[str, int], target: str
) -> None:
    sketch = Sketch()
    dilated: dict[str, Any] = {"dilations": [dilation] * 2} if dilation > 1 else {}
    window: dict[str, Any] = {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1] * 4}
    y = sketch.add(op, [sketch.real("x")], "pooled", **window, **dilated)
    x = {"x": (np.int8, (1, 32, 11, 11))}
    model = sketch.model(x, [sketch.integer(y, "y")])
    made = dnncc.compile(model, target, mapping={"N_pooled": {"steps": steps}}, strict=True)
    (group,) = (node for node in made.graph.nodes if node.op == "group")
    problem = Problem(workload(group, made.graph, made.target), made.graph, made.target, {})
    simulated = load(made.image).profile.cycles - made.target.issue.start_cycles
    played = rehearsed(problem, Mapping.from_attr(group.attrs["mapping"]))
    assert played == pytest.approx(simulated, rel=NEAR)


@pytest.mark.parametrize("target", ["nvdla-like-small", "nvdla-like-full", "tpu-like"])
@pytest.mark.parametrize("steps", [{"p": 1}, {"p": 3, "k": 8}])
def test_a_pool_takes_results_as_the_lanes_give_them(steps: dict[str, int], target: str) -> None:
    sketch = Sketch()
    pooled = sketch.add(
        "MaxPool", [sketch.real(sketch.conv("x", "c", (16, 8)))], "pooled",
        kernel_shape=[3, 3], strides=[2, 2],
    )  # fmt: skip
    model = sketch.model({"x": (np.int8, (1, 8, 13, 13))}, [sketch.integer(pooled, "y")])
    given = {"N_c_y": {"steps": steps, "attached": 2}}
    made = dnncc.compile(model, target, mapping=given, strict=True)
    (group,) = (node for node in made.graph.nodes if node.op == "group")
    problem = Problem(workload(group, made.graph, made.target), made.graph, made.target, {})
    simulated = load(made.image).profile.cycles - made.target.issue.start_cycles
    played = rehearsed(problem, Mapping.from_attr(group.attrs["mapping"]))
    assert played == pytest.approx(simulated, rel=NEAR)


def residual(c: int, k: int, size: int) -> ModelProto:
    quants = {"x": (0.02, 3), "o": (0.03, 7), "m": (0.05, 100), "r": (0.06, 110), "w": (0.01, 128)}
    constants: dict[str, Any] = {"w": np.arange(k * c, dtype=np.uint8).reshape(k, c, 1, 1)}
    for name, (scale, zero) in quants.items():
        constants |= {f"{name}_s": np.float32(scale), f"{name}_z": np.uint8(zero)}

    def node(op: str, inputs: list[str], output: str, quant: str = "") -> NodeProto:
        more = [f"{quant}_s", f"{quant}_z"] if quant else []
        return helper.make_node(op, [*inputs, *more], [output], name=output)

    nodes = [node("DequantizeLinear", [name], f"{name}_real", name) for name in "xow"]
    nodes += [
        node("Conv", ["x_real", "w_real"], "conv"),
        node("QuantizeLinear", ["conv"], "mid", "m"),
        node("DequantizeLinear", ["mid"], "mid_real", "m"),
        node("Add", ["mid_real", "o_real"], "sum"),
        node("QuantizeLinear", ["sum"], "y", "r"),
    ]
    byte = np.dtype(np.uint8)
    inputs = {"x": (byte, (1, c, size, size)), "o": (byte, (1, k, size, size))}
    return make_model(nodes, inputs, {"y": (byte, None)}, constants, 13)


def test_what_is_too_long_is_not_rehearsed() -> None:
    space = Space(layers([(64, 64, 1, 1)], 16), "eyeriss-like")
    single = Mapping(dict.fromkeys(space.problem.load.dims, 1), ("k", "p", "q", "c"), (), {})
    assert rehearsed(space.problem, single) is None
