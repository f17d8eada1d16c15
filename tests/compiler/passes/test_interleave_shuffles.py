"""Channels that are shuffled between the parts of a concatenation are written to their places."""

from typing import Any

import numpy as np
import pytest

import dnncc
from dnncc.ir.graph import Graph
from dnncc.runtime import load
from tests.compiler.small import Sketch
from tests.oracle import run

PLANAR = ("eyeriss-like", "shidiannao-like")
TARGETS = (*PLANAR, "tpu-like", "gemmini-like", "nvdla-like-small", "diannao-like")


def unit(parts: int, channels: int, side: int, *more: str) -> tuple[Any, dict[str, Any]]:
    """Convolutions that are put together, and shuffled: of ShuffleNet V2."""
    rng, sketch, wide = np.random.default_rng(channels), Sketch(), parts * channels

    def conv(x: str, name: str, shape: tuple[int, ...], **attrs: Any) -> str:
        values = rng.integers(-99, 99, shape).astype(np.int8)
        weight = sketch.real(sketch.constant(f"{name}_w", values))
        return sketch.real(
            sketch.integer(sketch.add("Conv", [x, weight], f"{name}_y", **attrs), name)
        )

    x = sketch.real("x")
    made = [conv(x, f"part{i}", (channels, 3, 1, 1)) for i in range(parts)]
    y = sketch.real(sketch.integer(sketch.add("Concat", made, "joined", axis=1), "whole"))
    for name, shape in (("split", (parts, channels)), ("shuffled", (wide,))):
        if name == "shuffled":
            y = sketch.add("Transpose", [y], "turned", perm=[0, 2, 1, 3, 4])
        to = sketch.constant(f"{name}_to", np.array([1, *shape, side, side], np.int64))
        y = sketch.add("Reshape", [y, to], name)
    z = conv(y, "z", (wide, 1, 3, 3), group=wide, pads=[1] * 4)
    ins = {"x": (np.int8, (1, 3, side, side))}
    outputs = [sketch.integer(z, "out"), *more]
    return sketch.model(ins, outputs), {"x": rng.integers(-128, 128, ins["x"][1]).astype(np.int8)}


def count(graph: Graph, op: str) -> int:
    return sum(op == inner.op for node in graph.nodes for inner in (node, *node.body))


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize(("parts", "channels", "side"), [(2, 5, 6), (2, 8, 3), (3, 4, 5)])
def test_parts_are_written_between_each_other(
    target: str, parts: int, channels: int, side: int
) -> None:
    model, feeds = unit(parts, channels, side)
    artifact = dnncc.compile(model, target, strict=True)
    session = load(artifact.image)
    for grouped in (True, False):
        (got,) = session.run(None, feeds, grouped=grouped)
        np.testing.assert_array_equal(got, run(model, feeds)["out"])
    assert count(artifact.graph, "interleave") == (parts == 2 or target in PLANAR)


def test_what_others_read_stays_in_order() -> None:
    model, feeds = unit(2, 5, 6, "whole")
    artifact = dnncc.compile(model, "tpu-like", strict=True)
    assert count(artifact.graph, "interleave") == 0
    got = load(artifact.image).run(None, feeds)
    for value, want in zip(got, run(model, feeds).values(), strict=True):
        np.testing.assert_array_equal(value, want)
