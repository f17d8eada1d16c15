"""Two convolutions of one map work side by side, bit by bit.

A failing case is its seed; DNNCC_SEEDS=500 tries more of them.
"""

import os
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import dnncc
from dnncc.diagnostics import CompileError
from dnncc.ir.graph import Graph
from dnncc.runtime import load
from tests.compiler.small import Sketch
from tests.oracle import run

SEEDS = int(os.environ.get("DNNCC_SEEDS", "4"))
TARGET = "nvdla-like-full"


def module(
    seed: int, side: int, depth: int, filters: tuple[int, int], pooled: bool = False
) -> tuple[Any, dict[str, Any]]:
    """A convolution 1x1, then one 1x1 and one 3x3 of its result, whose results are put together,
    and perhaps pooled."""
    sketch, rng = Sketch(), np.random.default_rng(seed)

    def conv(x: str, name: str, shape: tuple[int, ...]) -> str:
        weight = sketch.constant(f"{name}_w", rng.integers(-9, 9, shape).astype(np.int8))
        pads = [shape[-1] // 2] * 4
        y = sketch.add("Conv", [sketch.real(x), sketch.real(weight)], f"{name}_y", pads=pads)
        return sketch.integer(y, name)

    squeezed = conv("x", "s", (depth, depth, 1, 1))
    made = [conv(squeezed, f"e{r}", (k, depth, r, r)) for r, k in zip((1, 3), filters, strict=True)]
    joined = sketch.add("Concat", [sketch.real(m) for m in made], "joined", axis=1)
    whole = sketch.integer(joined, "whole")
    window: dict[str, Any] = {"kernel_shape": [3, 3], "strides": [2, 2]}
    if pooled:
        last = sketch.add("MaxPool", [sketch.real(whole)], "last", **window)
        whole = sketch.integer(last, "z")
    ins = {"x": (np.int8, (1, depth, side, side))}
    feeds = {"x": rng.integers(-128, 128, ins["x"][1]).astype(np.int8)}
    return sketch.model(ins, [whole]), feeds


def beside(graph: Graph) -> list[tuple[str, str]]:
    """The groups that work beside another, after that one."""
    groups = [n for n in graph.nodes if n.op == "group"]
    return [(a.loc[0], b.loc[0]) for a, b in pairwise(groups) if b.attrs.get("beside")]


def check(artifact: Any, model: Any, feeds: dict[str, Any]) -> None:
    """However it is executed."""
    session, (want,) = load(artifact.image), run(model, feeds).values()
    for grouped in (True, False):
        np.testing.assert_array_equal(session.run(None, feeds, grouped=grouped)[0], want)
    for seed in range(2):
        (got,) = session.run(None, feeds, schedule=f"random:{seed}")
        np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("pooled", [False, True])
def test_it_is_done_where_it_saves_cycles(pooled: bool, tmp_path: Path) -> None:
    """The lanes take most of the time of a convolution 1x1, the array of one 3x3."""
    model, feeds = module(1, 41, 16, (64, 64), pooled)
    artifact = dnncc.compile(model, TARGET, strict=True)
    apart = dnncc.compile(model, TARGET, strict=True, disable=["overlap_siblings"])
    assert len(beside(artifact.graph)) == 1
    assert beside(apart.graph) == []
    cycles = [load(a.image).profile.report["cycles"] for a in (artifact, apart)]
    assert cycles[0] < (0.95 if pooled else 1) * cycles[1]
    check(artifact, model, feeds)
    artifact.save_mapping(tmp_path / "m.toml")
    forced = dnncc.compile(model, TARGET, strict=True, mapping=tmp_path / "m.toml")
    for name, one in (("a", artifact), ("b", forced)):
        one.save(tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.mark.parametrize("first", ["e1", "e3"])
@pytest.mark.parametrize("seed", range(SEEDS))
def test_it_leaves_the_same(seed: int, first: str) -> None:
    """As it is asked for, whether or not it is worth it, whichever comes first."""
    rng = np.random.default_rng(seed)
    side, depth, *filters = (int(n) for n in rng.integers(3, 12, 4))
    model, feeds = module(seed, side, depth, (filters[0], filters[1]), bool(seed % 2))
    sizes = {"p": int(rng.integers(1, 3)), "q": int(rng.integers(1, 3))}
    other = "e3" if first == "e1" else "e1"
    mapping: dict[str, dict[str, Any]] = {
        f"N_{first}_y": {"steps": sizes},
        f"N_{other}_y": {"steps": sizes, "beside": f"N_{first}_y"},
    }
    target = ("nvdla-like-small", "nvdla-like-full")[seed // 2 % 2]
    artifact = dnncc.compile(
        model, target, strict=True, mapping=mapping, disable=["part_pools", "attach_lanes"]
    )
    assert beside(artifact.graph) == [(f"N_{first}_y", f"N_{other}_y")]
    check(artifact, model, feeds)


@pytest.mark.parametrize(("target", "other"), [(TARGET, "s"), ("eyeriss-like", "e3")])
def test_what_cannot_be_is_refused(target: str, other: str) -> None:
    """It reads what the other one makes; or maps stay on chip."""
    model, _ = module(1, 9, 4, (8, 8))
    name = f"N_{other}_y"
    mapping: dict[str, dict[str, Any]] = {name: {}, "N_e1_y": {"beside": name}}
    with pytest.raises(CompileError, match=f"it cannot work beside '{name}'"):
        dnncc.compile(model, target, mapping=mapping, cache=False)
