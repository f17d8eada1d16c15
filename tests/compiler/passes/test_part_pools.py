"""A pool of what several convolutions make is a pool behind each of them, bit by bit."""

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
POOLS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("MaxPool", {"kernel_shape": [3, 3], "strides": [2, 2]}),
    ("MaxPool", {"kernel_shape": [2, 2], "strides": [1, 1], "pads": [1, 0, 0, 1]}),
    ("AveragePool", {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]}),
    ("GlobalAveragePool", {}),
)


def branches(
    rng: np.random.Generator, pool: int, channels: list[int], depth: int, side: int
) -> tuple[Any, dict[str, Any]]:
    """Convolutions of x, with so many channels, put together and pooled."""
    sketch = Sketch()
    x, parts = sketch.real("x"), []
    for number, count in enumerate(channels):
        taps = 1 + 2 * (number % 2)
        values = rng.integers(-99, 99, (count, depth, taps, taps)).astype(np.int8)
        weight = sketch.real(sketch.constant(f"w{number}", values))
        y = sketch.add("Conv", [x, weight], f"y{number}", pads=[taps // 2] * 4)
        parts.append(sketch.real(sketch.integer(y, f"t{number}")))
    whole = sketch.real(sketch.integer(sketch.add("Concat", parts, "whole", axis=1), "s"))
    op, attrs = POOLS[pool]
    ins = {"x": (np.int8, (1, depth, side, side))}
    model = sketch.model(ins, [sketch.integer(sketch.add(op, [whole], "pooled", **attrs), "z")])
    return model, {"x": rng.integers(-128, 128, ins["x"][1]).astype(np.int8)}


def pooled_tiles(graph: Graph) -> int:
    """Pools that take the tiles of a convolution."""
    groups = ([inner.op for inner in node.body] for node in graph.nodes)
    return sum(ops[:1] == ["conv2d"] and "pool" in ops[-1] for ops in groups)


@pytest.mark.parametrize("target", ["eyeriss-like", "tpu-like", "nvdla-like-full", "diannao-like"])
@pytest.mark.parametrize("seed", range(SEEDS))
def test_branches(seed: int, target: str) -> None:
    rng = np.random.default_rng(seed)
    channels = [int(n) for n in rng.integers(1, 40, 2 + seed % 2)]
    depth, side = int(rng.integers(1, 9)), int(rng.integers(4, 20))
    model, feeds = branches(rng, seed % len(POOLS), channels, depth, side)
    artifact = dnncc.compile(model, target, strict=True)
    (got,) = load(artifact.image).run(None, feeds)
    np.testing.assert_array_equal(got, run(model, feeds)["z"])


def test_each_part_is_pooled_by_its_convolution() -> None:
    """Maps that DRAM would have to hold are not there at all."""
    model, feeds = branches(np.random.default_rng(0), 0, [64, 64], 16, 55)
    artifact = dnncc.compile(model, "nvdla-like-full", strict=True)
    assert all("N_pooled" in n.loc for n in artifact.graph.nodes if n.op == "concat")
    assert pooled_tiles(artifact.graph) >= 1
    (got,) = load(artifact.image).run(None, feeds)
    np.testing.assert_array_equal(got, run(model, feeds)["z"])
    without = dnncc.compile(model, "nvdla-like-full", strict=True, disable=["part_pools"])
    assert pooled_tiles(without.graph) == 0
    cycles = [load(made.image).profile.cycles for made in (artifact, without)]
    assert cycles[0] < cycles[1]


def test_a_saved_mapping_gives_the_same_program(tmp_path: Path) -> None:
    """Nests that are attached later, such as the input's, are not there when pools are parted."""
    rng, sketch = np.random.default_rng(0), Sketch()
    x = sketch.conv(sketch.integer("x", "quantised"), "first", (16, 3))
    parts = [sketch.conv(x, name, (64, 16)) for name in "ab"]
    whole = sketch.add("Concat", [sketch.real(part) for part in parts], "whole", axis=1)
    op, attrs = POOLS[0]
    y = sketch.add(op, [sketch.real(sketch.integer(whole, "s"))], "pooled", **attrs)
    model = sketch.model({"x": (np.float32, (1, 3, 55, 55))}, [sketch.integer(y, "z")])
    how: dict[str, Any] = {"strict": True, "disable": ["quantize_outside"]}
    made = dnncc.compile(model, "nvdla-like-full", **how)
    attached = [len(n.body) > 1 for n in made.graph.nodes if n.op == "group"]
    assert attached.count(True) == 3
    made.save_mapping(tmp_path / "m.toml")
    again = dnncc.compile(model, "nvdla-like-full", mapping=tmp_path / "m.toml", **how)
    texts = (artifact.asm().splitlines() for artifact in (made, again))
    first, second = ([line for line in text if not line.startswith(".")] for text in texts)
    assert first == second
    feeds = {"x": rng.standard_normal((1, 3, 55, 55)).astype(np.float32)}
    (got,) = load(again.image).run(None, feeds)
    np.testing.assert_array_equal(got, run(model, feeds)["z"])
