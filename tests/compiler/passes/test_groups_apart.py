"""A shuffle of channels between groups is where the convolution before it stores them."""

import os
from typing import Any

import numpy as np
import pytest

import dnncc
from dnncc.ir.graph import Graph
from dnncc.runtime import load
from tests.compiler.small import Sketch
from tests.oracle import run

SEEDS = int(os.environ.get("DNNCC_SEEDS", "6"))
PLANAR = ("eyeriss-like", "shidiannao-like")


def shuffled(seed: int, groups: int, batch: int = 1) -> tuple[Any, dict[str, Any]]:
    """A convolution in groups, the shuffle, and a depthwise convolution."""
    rng = np.random.default_rng(seed)
    each, depth, side = (int(rng.integers(1, high)) for high in (6, 5, 9))
    taps, stride = int(rng.integers(1, 4)), int(rng.integers(1, 3))
    sketch, channels = Sketch(), each * groups
    rows = (side + 2 * (taps // 2) - taps) // stride + 1

    def conv(x: str, name: str, shape: tuple[int, ...], **attrs: Any) -> str:
        values = rng.integers(-99, 99, shape).astype(np.int8)
        weight = sketch.real(sketch.constant(f"{name}_w", values))
        return sketch.add("Conv", [x, weight], f"{name}_y", **attrs)

    first = {"group": groups, "pads": [taps // 2] * 4, "strides": [stride] * 2}
    y = conv(sketch.real("x"), "a", (channels, depth, taps, taps), **first)
    x = sketch.real(sketch.integer(y, "t"))
    for name, shape in (("split", (batch, groups, each)), ("joined", (batch, channels))):
        if name == "joined":
            x = sketch.add("Transpose", [x], "turned", perm=[0, 2, 1, 3, 4])
        to = sketch.constant(f"{name}_to", np.array([*shape, rows, rows], np.int64))
        x = sketch.add("Reshape", [x, to], name)
    z = conv(x, "b", (channels, 1, 3, 3), group=channels, pads=[1] * 4)
    ins = {"x": (np.int8, (batch, depth * groups, side, side))}
    model = sketch.model(ins, [sketch.integer(z, "z")])
    return model, {"x": rng.integers(-128, 128, ins["x"][1]).astype(np.int8)}


def copies(graph: Graph) -> int:
    return sum(inner.op == "copy" for node in graph.nodes for inner in node.body)


@pytest.mark.parametrize("target", [*PLANAR, "tpu-like", "gemmini-like"])
@pytest.mark.parametrize("seed", range(SEEDS))
def test_shuffles(seed: int, target: str) -> None:
    """Where maps are planes it costs nothing; where channels are innermost it is a copy."""
    model, feeds = shuffled(seed, 2 + seed % 3, 1 + seed % 2)
    artifact = dnncc.compile(model, target, strict=True)
    (got,) = load(artifact.image).run(None, feeds)
    np.testing.assert_array_equal(got, run(model, feeds)["z"])
    if target in PLANAR:
        assert copies(artifact.graph) == 0


def test_a_map_that_is_read_as_it_was_is_copied() -> None:
    """One storage cannot have both orders."""
    model, _ = shuffled(1, 4)
    output = next(i for n in model.graph.node if n.op_type == "Reshape" for i in n.input[:1])
    source = next(n for n in model.graph.node if output in n.output).input[0]
    model.graph.output.append(next(v for v in model.graph.output))
    model.graph.output[-1].name = source
    artifact = dnncc.compile(model, "eyeriss-like", strict=True)
    assert copies(artifact.graph) == 1
