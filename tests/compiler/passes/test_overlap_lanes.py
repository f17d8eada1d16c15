"""Groups work beside the convolution before them, on what that one has stored, bit by bit.

A failing case is its seed; DNNCC_SEEDS=500 tries more of them.
"""

import os
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace

import dnncc
from dnncc.diagnostics import CompileError
from dnncc.ir.graph import Graph
from dnncc.ir.tile_text import parse_tile, print_tile, resources
from dnncc.passes.allocate import begin_of
from dnncc.runtime import load
from tests.compiler.small import Sketch
from tests.oracle import run

SEEDS = int(os.environ.get("DNNCC_SEEDS", "4"))
TARGET = "diannao-like"


def followed(
    seed: int, side: int = 9, parts: tuple[int, ...] = (5,), depth: int = 3, by: str = "pool"
) -> tuple[Any, dict[str, Any]]:
    """Convolutions 3x3 whose results are put together, and a pool or a convolution 1x1."""
    sketch, rng = Sketch(), np.random.default_rng(seed)

    def conv(x: str, name: str, shape: tuple[int, ...], **attrs: Any) -> str:
        weight = sketch.constant(f"{name}_w", rng.integers(-9, 9, shape).astype(np.int8))
        y = sketch.add("Conv", [sketch.real(x), sketch.real(weight)], f"{name}_y", **attrs)
        return sketch.integer(y, name)

    taps = [3 if i == 0 else 1 for i in range(len(parts))]
    made = [
        conv("x", f"c{i}", (k, depth, r, r), pads=[r // 2] * 4)
        for i, (k, r) in enumerate(zip(parts, taps, strict=True))
    ]
    whole = made[0]
    if len(made) > 1:
        joined = sketch.add("Concat", [sketch.real(m) for m in made], "joined", axis=1)
        whole = sketch.integer(joined, "whole")
    if by == "pool":
        window: dict[str, Any] = {"kernel_shape": [3, 3], "strides": [2, 2]}
        last = sketch.add("MaxPool", [sketch.real(whole)], "last", **window)
        z = sketch.integer(last, "z")
    else:
        z = conv(whole, "z", (4, sum(parts), 1, 1))
    ins = {"x": (np.int8, (1, depth, side, side))}
    feeds = {"x": rng.integers(-128, 128, ins["x"][1]).astype(np.int8)}
    return sketch.model(ins, [z]), feeds


def beside(graph: Graph) -> list[tuple[str, ...]]:
    """What each of the groups does that works beside another, and that one."""
    groups = [n for n in graph.nodes if n.op == "group"]
    return [(a.body[0].op, b.body[0].op) for a, b in pairwise(groups) if b.attrs.get("beside")]


def check(artifact: Any, model: Any, feeds: dict[str, Any]) -> None:
    """However it is executed."""
    session, want = load(artifact.image), run(model, feeds)["z"]
    for grouped in (True, False):
        np.testing.assert_array_equal(session.run(None, feeds, grouped=grouped)[0], want)
    for seed in range(2):
        (got,) = session.run(None, feeds, schedule=f"random:{seed}")
        np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize(
    ("by", "parts", "side"),
    [("pool", (64, 64), 39), ("pool", (64,), 27), ("conv", (64, 64), 27)],
)
def test_it_is_done_where_it_saves_cycles(by: str, parts: tuple[int, ...], side: int) -> None:
    """The array is busy with 3x3 taps, and what follows waits for its tiles."""
    model, feeds = followed(1, side, parts, 16, by)
    artifact = dnncc.compile(model, TARGET, strict=True)
    apart = dnncc.compile(model, TARGET, strict=True, disable=["overlap_lanes"])
    assert beside(artifact.graph) == [("conv2d", "maxpool" if by == "pool" else "conv2d")]
    assert beside(apart.graph) == []
    cycles = [load(a.image).profile.report["cycles"] for a in (artifact, apart)]
    assert cycles[0] < 0.95 * cycles[1]
    check(artifact, model, feeds)


@pytest.mark.parametrize("by", ["pool", "conv"])
@pytest.mark.parametrize("seed", range(SEEDS))
def test_it_leaves_the_same(seed: int, by: str) -> None:
    """As it is asked for, whether or not it is worth it."""
    rng = np.random.default_rng(seed)
    side, depth = int(rng.integers(5, 10)), int(rng.integers(1, 5))
    parts = tuple(int(k) for k in rng.integers(1, 9, 1 + seed % 2))
    model, feeds = followed(seed, side, parts, depth, by)
    last, rows = ("N_last" if by == "pool" else "N_z_y"), int(rng.integers(1, 4))
    steps = {"p": rows, "q": 1, "k": 1}
    first, second = ({"slots": n, "steps": steps} for n in (1 + seed % 2, 2))
    if by == "conv":
        second["steps"] = {**steps, "c": 1}
    mapping = {"N_c0_y": first, last: {"beside": "N_c0_y", **second}}
    whole = ["part_pools"]  # names of nodes that became several are others
    artifact = dnncc.compile(model, TARGET, strict=True, mapping=mapping, disable=whole)
    assert len(beside(artifact.graph)) == 1
    check(artifact, model, feeds)


def test_buffers_filled_beside_two_nests_are_there_in_the_time_of_both() -> None:
    model, _ = followed(1, 27, (64,), 16)
    nests = dnncc.compile(model, TARGET, strict=True).tile.nests
    second = next(i for i, nest in enumerate(nests) if nest.beside)
    buffer = nests[second].buffers[0]
    begins = [begin_of(replace(buffer, ahead=n), nests[: second + 1]) for n in (0, 1, 2)]
    assert begins == [second + 1, second - 1, second - 1]


def test_text_and_mappings_keep_it(tmp_path: Path) -> None:
    model, _ = followed(1, 27, (64,), 16)
    artifact = dnncc.compile(model, TARGET, strict=True)
    constants = resources(artifact.tile.graph)
    again = parse_tile(print_tile(artifact.tile), constants)
    assert [nest.beside for nest in again.nests].count(True) == 1
    assert print_tile(again) == print_tile(artifact.tile)
    artifact.save_mapping(tmp_path / "m.toml")
    forced = dnncc.compile(model, TARGET, strict=True, mapping=tmp_path / "m.toml")
    for name, one in (("a", artifact), ("b", forced)):
        one.save(tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.mark.parametrize(
    ("other", "words"),
    [("N_none", "cannot work beside 'N_none'"), ("N_last", "cannot work beside 'N_last'")],
)
def test_what_cannot_be_is_refused(other: str, words: str) -> None:
    with pytest.raises(CompileError, match=words):
        dnncc.compile(followed(1)[0], TARGET, mapping={"N_last": {"beside": other}})


def test_both_must_fit() -> None:
    model, _ = followed(1, 27, (64,), 16)
    steps = {"N_c0_y": {"steps": {"k": 32, "p": 1, "q": 12}, "slots": 1}}
    wish = {"beside": "N_c0_y", "steps": {"k": 16, "p": 1, "q": 9}, "slots": 1}
    with pytest.raises(CompileError, match="both need .* bytes of '"):
        dnncc.compile(model, TARGET, mapping={**steps, "N_last": wish})


@pytest.mark.parametrize("goal", ["energy", "edp"])
def test_for_latency_only(goal: str) -> None:
    model, _ = followed(1, 27, (64,), 16)
    assert beside(dnncc.compile(model, TARGET, opt_for=goal).graph) == []
