"""Inputs come quantised and outputs leave so; callers see real numbers either way."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from onnx import ModelProto

import dnncc
from dnncc import targets
from dnncc.check import WrongValue, watchers
from dnncc.driver import compile_model
from dnncc.ir.graph import Graph, Quant
from dnncc.options import Options
from dnncc.passes.pipeline import PIPELINE, Pass
from dnncc.runtime import RunError, load
from tests.compiler import faults
from tests.compiler.small import Sketch, compiled
from tests.models import make_model
from tests.oracle import run

TARGETS = ("eyeriss-like", "tpu-like", "nvdla-like-small", "diannao-like")
IMAGE = (np.float32, (1, 4, 5, 6))


def network(sketch: Sketch, outputs: dict[str, Any]) -> ModelProto:
    return make_model(sketch.nodes, {"x": IMAGE}, outputs, sketch.constants)


def convolution() -> ModelProto:
    """Real numbers in and out of a quantised convolution."""
    sketch = Sketch()
    q = sketch.integer("x", "q")
    sketch.real(sketch.conv(q, "y"))
    return network(sketch, {"y_real": (np.float32, None)})


def hard(rng: np.random.Generator) -> Any:
    """What rounds from a middle, what saturates, and what is no number."""
    values = rng.integers(-60, 60, IMAGE[1]).astype(np.float32) / 32
    values.reshape(-1)[:6] = np.inf, -np.inf, np.nan, 1e30, -1e30, -0.0
    return values


def kept(graph: Graph) -> set[str]:
    return {name for name in (*graph.inputs, *graph.outputs) if graph.tensors[name].real}


@pytest.mark.parametrize("target", TARGETS)
def test_the_runtime_converts_as_onnxruntime(target: str) -> None:
    model = convolution()
    artifact = dnncc.compile(model, target, strict=True)
    session = load(artifact.image)
    assert kept(artifact.graph) == {"x", "y_real"}
    assert session.symbols["x"].dtype == "int8"
    assert [t.type for t in (*session.get_inputs(), *session.get_outputs())] == [
        "tensor(float)"
    ] * 2
    rng = np.random.default_rng(0)
    one, two = hard(rng), hard(rng)
    for grouped in (True, False):
        (got,) = session.run(None, {"x": np.concatenate([one, two])}, grouped=grouped)
        for part, feed in zip(got, (one, two), strict=True):
            np.testing.assert_array_equal(part[None], run(model, {"x": feed})["y_real"])
    np.testing.assert_array_equal(session.tensor("y_real"), got)


def test_without_the_pass_the_lanes_convert() -> None:
    model, feeds = convolution(), {"x": hard(np.random.default_rng(1))}
    ways: list[list[str]] = [[], ["quantize_outside"]]
    made = [dnncc.compile(model, "tpu-like", disable=way) for way in ways]
    assert [len(kept(artifact.graph)) for artifact in made] == [2, 0]
    sessions = [load(artifact.image) for artifact in made]
    with_it, without = (s.run(None, feeds)[0] for s in sessions)
    np.testing.assert_array_equal(with_it, without)
    reports = [s.profile.report for s in sessions]
    assert reports[0]["dram_read_bytes"] < reports[1]["dram_read_bytes"]
    assert not reports[1]["converted"]
    assert reports[0]["converted"] == [
        {"tensor": "x", "kind": "input", "held": "int8", "elements": 120},
        {"tensor": "y_real", "kind": "output", "held": "int8", "elements": 120},
    ]


def check(pipeline: Sequence[Pass]) -> None:
    watching = watchers("random:3", targets.load("tpu-like"))
    compile_model(convolution(), Options(target="tpu-like", verify=False), watching, pipeline)


def test_every_pass_keeps_the_values() -> None:
    check(PIPELINE)


@pytest.mark.parametrize("name", ["x", "y_real"])
def test_another_scale_is_found(name: str) -> None:
    change = faults.on_tensor(name, quant=Quant.per_tensor(0.05, 0))
    with pytest.raises(WrongValue, match="pass quantize_outside changed the values"):
        check(faults.planted("quantize_outside", change))


def test_an_input_that_is_also_read_as_it_is_stays_real() -> None:
    sketch = Sketch()
    y = sketch.real(sketch.conv(sketch.integer("x", "q"), "y"))
    sketch.add("Add", [y, "x"], "sum")
    graph = compiled(network(sketch, {"sum": (np.float32, None)}))
    assert not kept(graph)


def test_an_output_that_is_also_read_stays_real() -> None:
    sketch = Sketch()
    y = sketch.real(sketch.conv(sketch.integer("x", "q"), "y"))
    sketch.add("Sin", [y], "s")
    graph = compiled(network(sketch, {y: (np.float32, None), "s": (np.float32, None)}))
    assert kept(graph) == {"x"}


def test_an_integer_that_is_an_output_keeps_its_name() -> None:
    sketch = Sketch()
    q = sketch.integer("x", "q")
    y = sketch.real(sketch.conv(q, "y"))
    outputs = {y: (np.float32, None), "q": (np.int8, None), "y": (np.int8, None)}
    assert not kept(compiled(network(sketch, outputs)))


def test_an_input_that_is_rounded_and_given_back() -> None:
    sketch = Sketch()
    sketch.real(sketch.integer("x", "q"))
    model, feeds = network(sketch, {"q_real": (np.float32, None)}), hard(np.random.default_rng(2))
    artifact = dnncc.compile(model, "tpu-like")
    assert kept(artifact.graph) == {"x"}
    (got,) = load(artifact.image).run(None, {"x": feeds})
    np.testing.assert_array_equal(got, run(model, {"x": feeds})["q_real"])


def test_feeds_are_checked_as_real_numbers() -> None:
    session = load(dnncc.compile(convolution(), "tpu-like").image)
    with pytest.raises(RunError, match=r"input 'x': expected float32\[1, 4, 5, 6\], got int8"):
        session.run(None, {"x": np.zeros(IMAGE[1], np.int8)})
