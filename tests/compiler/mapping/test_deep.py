"""Where DRAM's latency is long for a memory of operands, its buffers may be deeper than others."""

import numpy as np
import pytest

import dnncc
from dnncc.mapping.search import options_of
from dnncc.mapping.space import Fill, blocks
from dnncc.runtime import InferenceSession
from tests.compiler.mapping.test_bound import layers
from tests.compiler.mapping.test_full import problem
from tests.compiler.small import Sketch


@pytest.mark.parametrize(
    ("target", "deep"),
    [("diannao-like", True), ("nvdla-like-full", False), ("tpu-like", False)],
)
def test_only_memories_that_are_less_than_what_comes_in_a_latency(target: str, deep: bool) -> None:
    """diannao-like: 255 bytes a cycle for 100 cycles, and 2 KiB."""
    assert any(choice.fits for choice in options_of(problem(1, target))) is deep


def test_tiles_of_whole_blocks_of_the_array() -> None:
    """160 channels are ten blocks of 16: halves and thirds of them, and so on."""
    assert set(blocks(160, 16)) == {160, 80, 64, 48, 32, 16}
    assert blocks(160, 0) == ()
    assert problem(1, "diannao-like").fill == Fill(0, 16)
    assert problem(1, "nvdla-like-full").fill == Fill()


def test_a_lone_slot_waits_for_dram() -> None:
    """A tile that takes all of NBin would wait 100 cycles for the next one."""
    sketch = Sketch()
    pool = {"kernel_shape": [3, 3], "strides": [2, 2]}
    y = sketch.add("MaxPool", [sketch.add("MaxPool", ["x"], "y", **pool)], "z", **pool)
    artifact = dnncc.compile(
        sketch.model({"x": (np.int8, (1, 256, 55, 55))}, [y]), "diannao-like", strict=True
    )
    for group in (n for n in artifact.graph.nodes if n.op == "group"):
        assert group.attrs["mapping"]["slots"]["ifmap"] > 1


def test_ifmaps_come_early_where_tiles_are_short() -> None:
    """A tile of 16 channels, of which two fill a quarter of NBin, takes fewer cycles than DRAM's
    latency."""
    model = layers([(96, 16, 1, 1), (16, 96, 1, 1)], 56)
    artifact = dnncc.compile(model, "diannao-like", strict=True)
    (first, *_) = (n for n in artifact.graph.nodes if n.op == "group")
    slots = first.attrs["mapping"]["slots"]
    assert slots["ifmap"] > slots["psum"]
    given = {"N_t0": {"slots": 2}}
    even = dnncc.compile(model, "diannao-like", mapping=given, strict=True)
    cycles = [InferenceSession(a.image).profile.cycles for a in (artifact, even)]
    assert cycles[0] < cycles[1]
