"""Every cycle above a bound has a cause, and the causes sum to it, exactly."""

from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace

import dnncc
from dnncc import targets
from dnncc.isa import core
from dnncc.isa import image as images
from dnncc.runtime import InferenceSession, table
from dnncc.runtime.gap import CAUSES, gaps
from dnncc.runtime.pricing import Prices
from dnncc.runtime.timing import Timeline
from tests.compiler.networks import small_network
from tests.models import find_model

TPU = targets.load("tpu-like")
COLUMNS = ("engine", "issue", "begin", "start", "end", "head", "tail", "channel")


def timeline(rows: list[tuple[Any, ...]]) -> Timeline:
    """From (engine, issue, begin, start, end, head, tail, link) of each instruction."""
    named = [(core.ENGINES.index(r[0]) if r[0] else -1, *r[1:]) for r in rows]
    columns = dict(zip(COLUMNS, np.array(named, np.int64).T, strict=True))
    zero = np.zeros(len(rows), np.int64)
    prices = {"fetch": zero, "cycles": columns["end"] - columns["start"]}
    prices |= {name: columns.pop(name) for name in ("head", "tail", "channel")}
    stalls = np.zeros((len(rows), 8), np.int64)
    return Timeline(
        **columns, stalls=stalls, cycles=int(columns["end"].max()), prices=Prices.of(**prices)
    )


RUN = timeline(
    [  # a load, its step and what follows it, and a store: one layer
        ("load0", 3, 3, 10, 30, 0, 0, 0),
        ("tensor", 4, 30, 30, 90, 5, 15, -1),
        ("vector", 4, 90, 90, 100, 0, 0, -1),
        ("store0", 5, 100, 107, 120, 0, 0, 1),
    ]
)
"""Nothing until 3; DRAM's latency until 10; the first tile until 30; the array until 90, of which
20 are its ends; vector until 100; latency until 107; the store until 120."""


def causes(floor: images.Floor, run: Timeline = RUN) -> dict[str, int]:
    rows = np.zeros(len(run.end), np.int64)
    (one,), whole = gaps(run, np.flatnonzero(run.engine < 0), rows, [floor], TPU)
    assert one == whole and tuple(one.causes) == CAUSES
    assert sum(one.causes.values()) == run.cycles - one.bound
    return {name: count for name, count in one.causes.items() if count}


def test_a_layer_that_the_array_limits() -> None:
    assert causes(images.Floor(array=45)) == {
        "fill_drain": 15, "vector_tail": 10, "ramp": 20, "exposed_dma": 13,
        "dram_latency": 14, "issue": 3,
    }  # fmt: skip
    assert causes(images.Floor(array=30))["array"] == 10


def test_a_layer_that_dram_limits() -> None:
    """153 bytes at 15.3 in a cycle; the link is busy for 20 cycles."""
    assert causes(images.Floor(array=5, moved=(153,))) == {
        "array": 60, "traffic": 10, "vector_tail": 10, "exposed_dma": 13,
        "dram_latency": 14, "issue": 3,
    }  # fmt: skip


def test_a_host_part_between_two_layers() -> None:
    """Done at 30; then a step waits for its issue until 40, and nobody knows why until 45."""
    rows = [("tensor", 0, 0, 0, 30, 0, 0, -1), ("", 1, 30, 30, 30, 0, 0, -1)]
    after = ("tensor", 40, 45, 45, 50, 0, 0, -1)
    assert causes(images.Floor(array=35), timeline([*rows, after])) == {"host": 15}
    assert causes(images.Floor(array=35), timeline([rows[0], after])) == {"issue": 10, "waits": 5}


def test_in_total_the_limit_is_that_of_the_run() -> None:
    """The step limits the second row; the load, of 18 cycles, the first; the run is the array's."""
    rows, floors = np.array([0, 1, 1, 1]), [images.Floor(moved=(275,)), images.Floor(array=60)]
    (load, step), whole = gaps(RUN, np.zeros(0, np.int64), rows, floors, TPU)
    assert (load.limit, step.limit, whole.limit) == ("dram", "array", "array")
    assert (load.bound, step.bound, whole.bound) == (18, 60, 60)
    assert load.causes["traffic"] == 2 and sum(load.causes.values()) == 30 - 18
    assert sum(step.causes.values()) == 90 - 60 and sum(whole.causes.values()) == 120 - 60


TARGETS = (
    *("eyeriss-like", "tpu-like", "gemmini-like-os", "shidiannao-like"),
    *("diannao-like", "nvdla-like-full"),
)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("model", ["", "mlperf_tiny_ic_resnet8_int8"])
def test_causes_sum_to_the_gap(model: str, target: str) -> None:
    source = find_model(model) if model else small_network()
    report = InferenceSession(dnncc.compile(source, target).image).profile.report
    for row in (*report["layers"], report):
        assert sum(row["gap"].values()) == row["cycles"] - row["bound"]["cycles"]
        assert all(n >= 0 for cause, n in row["gap"].items() if cause not in ("array", "traffic"))
    assert f"bound        {report['bound']['cycles']:,} by " in table.summary(report)
    assert len(table.gap_table(report).splitlines()) == len(report["layers"]) + 2


def test_a_binary_without_bounds() -> None:
    image = dnncc.compile(small_network(), "tpu-like").image
    assert image.debug is not None
    bare = replace(image, debug=replace(image.debug, floors=()))
    report = InferenceSession(bare).profile.report
    assert "bound" not in report and table.gap_table(report) == ""
    assert "bound  " not in table.summary(report) and table.table(report)
