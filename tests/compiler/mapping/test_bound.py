"""Bounds are the least over all mappings, and no simulated network is under its own."""

from functools import cache
from typing import Any

import numpy as np
import pytest

import dnncc
from dnncc import targets
from dnncc.ir.graph import Graph
from dnncc.isa.image import Floor
from dnncc.mapping.bound import fewest_cycles, floors
from dnncc.mapping.given import ANY
from dnncc.mapping.lowering import workload
from dnncc.runtime import InferenceSession
from dnncc.targets.floor import added, bound, link_cycles, total
from tests.compiler.networks import small_network
from tests.compiler.small import Sketch
from tests.models import find_model

TARGETS = (
    *("eyeriss-like", "tpu-like", "gemmini-like", "gemmini-like-os"),
    *("shidiannao-like", "diannao-like", "nvdla-like-small", "nvdla-like-full"),
)
SLACK = 0.05
"""The array may fill for a layer while the one before drains, which bounds count twice."""


def layers(shapes: list[tuple[int, int, int, int]], side: int) -> Any:
    """Convolutions one after the other, (filters, channels per group, size, groups) each."""
    sketch, x = Sketch(), "x"
    channels = shapes[0][1] * shapes[0][3]
    for number, (filters, depth, size, groups) in enumerate(shapes):
        name = f"t{number}"
        values = sketch.rng.integers(-9, 9, (filters, depth, size, size)).astype(np.int8)
        weight = sketch.real(sketch.constant(f"{name}_w", values))
        attrs: dict[str, Any] = {"pads": [size // 2] * 4, "group": groups}
        y = sketch.add("Conv", [sketch.real(x), weight], f"{name}_y", **attrs)
        x = sketch.integer(y, name)
    return sketch.model({"x": (np.int8, (1, channels, side, side))}, [x])


NETWORK = [(24, 3, 3, 1), (24, 1, 3, 24), (40, 24, 1, 1), (20, 20, 3, 2)]


@cache
def compiled(target: str) -> Any:
    return dnncc.compile(layers(NETWORK, 12), target, strict=True)


@pytest.mark.parametrize("name", TARGETS)
def test_splitting_pixels_never_takes_fewer_cycles(name: str) -> None:
    artifact = compiled(name)
    for node in artifact.graph.nodes:
        load = workload(node, artifact.graph, artifact.target)
        assert fewest_cycles(load, artifact.target) <= fewest_cycles(load, artifact.target, ANY)


@pytest.mark.parametrize("name", TARGETS)
def test_no_run_is_under_its_bound(name: str) -> None:
    for artifact in (compiled(name), dnncc.compile(small_network(), name)):
        cycles = InferenceSession(artifact.image).profile.cycles
        assert cycles >= (1 - SLACK) * bound(artifact.target, floors_of(artifact))


def floors_of(artifact: Any) -> list[Floor]:
    return floors(artifact.graph, artifact.target)


def moved(graph: Graph, target: str) -> tuple[int, int]:
    whole = total(floors(graph, targets.load(target)))
    return sum(whole.moved), sum(whole.spilled)


def test_constants_inputs_and_outputs_cross_dram_once() -> None:
    """The network's maps of at most 40 x 12 x 12 int16 stay in 108 KiB."""
    artifact = compiled("eyeriss-like")
    graph = artifact.graph
    outer = [graph.tensors[n] for n in (*graph.inputs, *graph.outputs)]
    used = {i for n in graph.nodes for b in n.body for i in (*b.inputs, b.attrs.get("params"))}
    constants = sum(v.nbytes for n, v in graph.constants.items() if n in used)
    assert moved(graph, "eyeriss-like") == (constants + sum(t.size for t in outer), 0)


def test_what_no_memory_holds_of_a_map_is_written_and_read() -> None:
    """Between 1x1 convolutions of 40 channels of 96 x 96 int8: 54 Ki of them fit as int16."""
    artifact = dnncc.compile(layers([(40, 3, 1, 1), (8, 40, 1, 1)], 96), "eyeriss-like")
    spilled = moved(artifact.graph, "eyeriss-like")[1]
    assert spilled == 2 * (40 * 96 * 96 - 54 * 1024)
    assert moved(artifact.graph, "tpu-like")[1] == 0


def test_maps_between_two_memories_must_be_written_and_read() -> None:
    """Of gemmini-like's two, the array reads one, and results are made in the other."""
    artifact = dnncc.compile(layers([(40, 3, 1, 1), (8, 40, 1, 1)], 4), "gemmini-like")
    must, may = moved(artifact.graph, "gemmini-like")
    assert (must - moved(artifact.graph, "tpu-like")[0], may) == (2 * 40 * 4 * 4, 0)


def test_links_and_sums() -> None:
    """tpu-like: 15.3 bytes per cycle each way to the host, 46 from the weights' memory."""
    tpu = targets.load("tpu-like")
    assert link_cycles(tpu, (1530, 3060, 4600, 0)) == [100, 200, 100, 0]
    assert added((1, 2), (), (3,)) == (4, 2) and added() == ()
    rows = [Floor(10, 1, (1530,), (0, 3060)), Floor(20)]
    assert bound(tpu, rows) == 100 and bound(tpu, rows, spilling=True) == 200
    assert bound(tpu, [Floor(150), *rows]) == 180


@pytest.mark.parametrize(("name", "weights"), [("eyeriss-like", 0), ("tpu-like", 256)])
def test_resnet8_is_over_its_bound(name: str, weights: int) -> None:
    """But for layers whose first weights enter a systolic array while another layer is on it."""
    artifact = dnncc.compile(find_model("mlperf_tiny_ic_resnet8_int8"), name)
    floors = floors_of(artifact)
    early = weights * sum(f.array > 0 for f in floors[1:])
    cycles = InferenceSession(artifact.image).profile.cycles
    assert cycles >= bound(artifact.target, floors) - early
