"""Loads, computation and stores of different tiles run at the same time."""

import numpy as np
import pytest
from onnx import ModelProto, helper

import dnncc
from dnncc.isa import core
from dnncc.runtime import InferenceSession
from dnncc.runtime.timing import Timeline
from tests.models import make_model

LOAD, STORE, TENSOR = (core.ENGINES.index(e) for e in ("load0", "store0", "tensor"))


def convolution(channels: int, size: int) -> ModelProto:
    """One 3x3 convolution, int8, of a map that is too large for the 108 kB of eyeriss-like."""
    rng = np.random.default_rng(0)
    constants = {
        "scale": np.float32(1 / 16),
        "wide": np.float32(1),
        "zero": np.int8(0),
        "w": rng.integers(-9, 9, (channels, channels, 3, 3)).astype(np.int8),
    }
    inputs = ["x", "scale", "zero", "w", "scale", "zero", "wide", "zero"]
    node = helper.make_node("QLinearConv", inputs, ["y"], name="Conv_0", pads=[1, 1, 1, 1])
    shape = (1, channels, size, size)
    return make_model([node], {"x": (np.int8, shape)}, {"y": (np.int8, shape)}, constants)


@pytest.fixture(scope="module")
def timeline() -> Timeline:
    artifact = dnncc.compile(convolution(32, 64), "eyeriss-like")
    return InferenceSession(artifact.image).profile.timeline


def test_the_layer_takes_several_tiles(timeline: Timeline) -> None:
    assert np.count_nonzero(timeline.engine == TENSOR) >= 4


def test_loads_hide_behind_computation(timeline: Timeline) -> None:
    """All that is loaded after the array has begun is loaded while it works."""
    array = timeline.busy()[TENSOR]
    began = timeline.start[timeline.engine == TENSOR].min()
    later = (timeline.engine == LOAD) & (timeline.start >= began)
    loaded = (timeline.end - timeline.start)[later].sum()
    waited = timeline.stalled()[TENSOR].sum() - began
    assert loaded > 0.1 * array, "the layer hardly loads: it shows nothing"
    assert waited < 0.1 * array


def test_engines_together_take_less_than_one_after_the_other(timeline: Timeline) -> None:
    assert timeline.cycles < 0.85 * timeline.busy().sum()


def test_stores_run_beside_the_array(timeline: Timeline) -> None:
    stores = np.flatnonzero(timeline.engine == STORE)
    last = timeline.end[timeline.engine == TENSOR].max()
    assert (timeline.end[stores] <= last).sum() >= len(stores) - 1
