"""A shuffle of channels between groups is where the convolution before it stores them."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import dnncc
from dnncc.ir.graph import Graph
from dnncc.runtime import load
from tests.compiler.small import Sketch
from tests.oracle import run

SEEDS = int(os.environ.get("DNNCC_SEEDS", "6"))
TARGETS = (
    *("eyeriss-like", "shidiannao-like", "tpu-like", "gemmini-like", "gemmini-like-os"),
    *("diannao-like", "nvdla-like-small", "nvdla-like-full"),
)
SMALL = """
extends = "gemmini-like"
name = "small"

[[memory]]
name = "accumulator"
bytes = {room}
"""


def shuffled(
    seed: int, groups: int, batch: int = 1, channels: tuple[int, int, int] | None = None
) -> tuple[Any, dict[str, Any]]:
    """A convolution in groups, the shuffle, and a depthwise convolution. `channels` that a group
    makes and reads, and rows of its input, are random if they are not given."""
    rng = np.random.default_rng(seed)
    each, depth, side = channels or (int(rng.integers(1, high)) for high in (6, 5, 9))
    taps, stride = int(rng.integers(1, 4)), int(rng.integers(1, 3))
    sketch, wide = Sketch(), each * groups
    rows = (side + 2 * (taps // 2) - taps) // stride + 1

    def conv(x: str, name: str, shape: tuple[int, ...], **attrs: Any) -> str:
        values = rng.integers(-99, 99, shape).astype(np.int8)
        weight = sketch.real(sketch.constant(f"{name}_w", values))
        return sketch.add("Conv", [x, weight], f"{name}_y", **attrs)

    first = {"group": groups, "pads": [taps // 2] * 4, "strides": [stride] * 2}
    y = conv(sketch.real("x"), "a", (wide, depth, taps, taps), **first)
    x = sketch.real(sketch.integer(y, "t"))
    for name, shape in (("split", (batch, groups, each)), ("joined", (batch, wide))):
        if name == "joined":
            x = sketch.add("Transpose", [x], "turned", perm=[0, 2, 1, 3, 4])
        to = sketch.constant(f"{name}_to", np.array([*shape, rows, rows], np.int64))
        x = sketch.add("Reshape", [x, to], name)
    z = conv(x, "b", (wide, 1, 3, 3), group=wide, pads=[1] * 4)
    ins = {"x": (np.int8, (batch, depth * groups, side, side))}
    model = sketch.model(ins, [sketch.integer(z, "z")])
    return model, {"x": rng.integers(-128, 128, ins["x"][1]).astype(np.int8)}


def copies(graph: Graph) -> int:
    return sum(inner.op == "copy" for node in graph.nodes for inner in node.body)


def is_scattered(graph: Graph) -> bool:
    return any(inner.attrs.get("scattered") for node in graph.nodes for inner in node.body)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("seed", range(SEEDS))
def test_shuffles(seed: int, target: str) -> None:
    """Whatever stores the groups apart, and however it is executed."""
    model, feeds = shuffled(seed, (2, 3, 4, 8)[seed % 4], 1 + seed % 2)
    artifact = dnncc.compile(model, target, strict=True)
    session = load(artifact.image)
    for grouped in (True, False):
        (got,) = session.run(None, feeds, grouped=grouped)
        np.testing.assert_array_equal(got, run(model, feeds)["z"])


@pytest.mark.parametrize("target", TARGETS)
def test_it_is_no_copy_where_tiles_have_room(target: str) -> None:
    artifact = dnncc.compile(shuffled(1, 3, channels=(3, 2, 6))[0], target, strict=True)
    assert copies(artifact.graph) == 0


@pytest.mark.parametrize(
    ("room", "level", "goal", "way"),
    [
        (16, 0, "latency", "copied"),
        (64, 0, "latency", "gathered"),
        (128, 2, "latency", "scattered"),
        (8192, 2, "latency", "scattered"),
        (8192, 2, "energy", "gathered"),
    ],
)
def test_small_memories(tmp_path: Path, room: int, level: int, goal: str, way: str) -> None:
    """Where a tile with all groups has no room, or costs more than it saves, a copy shuffles, or
    each group is stored alone."""
    (tmp_path / "small.toml").write_text(SMALL.format(room=room))
    model, feeds = shuffled(5, 8, channels=(4, 4, 5))
    target = str(tmp_path / "small.toml")
    artifact = dnncc.compile(model, target, strict=True, level=level, opt_for=goal)
    session = load(artifact.image)
    for grouped in (True, False):
        (got,) = session.run(None, feeds, grouped=grouped)
        np.testing.assert_array_equal(got, run(model, feeds)["z"])
    assert copies(artifact.graph) == (way == "copied")
    assert is_scattered(artifact.graph) == (way == "scattered")


def test_groups_are_scattered_where_the_weights_of_all_do_not_fit() -> None:
    model, _ = shuffled(1, 4, channels=(68, 68, 6))
    artifact = dnncc.compile(model, "diannao-like", strict=True)
    assert is_scattered(artifact.graph)


@pytest.mark.parametrize("target", ["tpu-like", "nvdla-like-small"])
def test_tiles_of_some_channels_and_groups(target: str) -> None:
    """A tile of the result is stored when all groups are in it."""
    model, feeds = shuffled(2, 4, channels=(6, 3, 7))
    want = run(model, feeds)["z"]
    for steps in ({"k": 2, "p": 3, "q": 2}, {"g": 3, "p": 2}, {"g": 1, "c": 2}, {"k": 5, "g": 1}):
        artifact = dnncc.compile(model, target, mapping={"N_a_y": {"steps": steps}}, strict=True)
        session = load(artifact.image)
        for grouped in (True, False):
            np.testing.assert_array_equal(session.run(None, feeds, grouped=grouped)[0], want)


@pytest.mark.parametrize("target", ["tpu-like", "nvdla-like-small", "diannao-like", "eyeriss-like"])
def test_it_is_executed_at_once(target: str) -> None:
    """All tiles as one convolution: on chip, and by way of stores of what several steps made."""
    model, _ = shuffled(2, 4, channels=(6, 3, 8))
    mapping = {"N_a_y": {"steps": {"k": 3, "p": 4, "g": 1}}}
    plan = load(dnncc.compile(model, target, mapping=mapping, strict=True).image).plan
    assert plan is not None
    assert [piece.why for piece in plan.pieces if not piece.merged][:-1] == []


def test_a_map_that_is_read_as_it_was_is_copied() -> None:
    """One storage cannot have both orders."""
    model, _ = shuffled(1, 4)
    output = next(i for n in model.graph.node if n.op_type == "Reshape" for i in n.input[:1])
    source = next(n for n in model.graph.node if output in n.output).input[0]
    model.graph.output.append(next(v for v in model.graph.output))
    model.graph.output[-1].name = source
    artifact = dnncc.compile(model, "eyeriss-like", strict=True)
    assert copies(artifact.graph) == 1
