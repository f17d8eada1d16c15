"""A layer at a time gives what one instruction after the other gives: outputs, memory, cycles."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.e2e.running import ODD, TARGETS, Compiled, compiled, proto
from tests.models import QUANTISED, random_feeds

SMALL = tuple(name for name in QUANTISED if not name.startswith("coral_mobilenet_v2"))
OTHERS = ("diannao-like", "shidiannao-like", "gemmini-like", "nvdla-like-small")
CASES = [(name, target) for name in SMALL for target in (*TARGETS, ODD)]
CASES += [(SMALL[0], target) for target in OTHERS]
IN_PART = ("mcunet_vww_int8", "coral_mobilenet_v2_224_int8")
"""Of maps of which a part stays on chip; the other one has a pool behind a convolution, too."""

CASES += [(name, "shidiannao-like") for name in QUANTISED if name in IN_PART]
CASES += [(name, "eyeriss-like") for name in QUANTISED if name == IN_PART[1]]
BATCH = 3


def feeds_of(name: str, batch: int) -> dict[str, Any]:
    singles = [random_feeds(proto(name), seed) for seed in range(71, 71 + batch)]
    return {key: np.concatenate([f[key] for f in singles]) for key in singles[0]}


def in_memory(model: Compiled, names: list[str]) -> list[Any]:
    return [model.session.tensor(name) for name in names]


@pytest.mark.parametrize("batch", [1, BATCH])
@pytest.mark.parametrize(("name", "target"), CASES, ids=lambda v: Path(str(v)).stem)
def test_groups_leave_the_same(name: str, target: str, batch: int) -> None:
    model, feeds = compiled(name, target), feeds_of(name, batch)
    session = model.session
    kept = [s for s in session.symbols if session.groups([s])]
    outputs = session.run(None, feeds, grouped=True)
    memory = in_memory(model, kept)
    assert session._grouped, "the groups were not used"
    for got, expected in (
        (outputs, session.run(None, feeds, grouped=False)),
        (memory, in_memory(model, kept)),
    ):
        assert all(np.array_equal(a, b) for a, b in zip(got, expected, strict=True))


ONE_BY_ONE = {
    *("host is executed one by one", "halt is executed one by one"),
    *("elementwises of several kinds", "reduce is executed one by one"),  # as of a softmax
    "results that the array reads",  # lanes before a convolution
}


@pytest.mark.parametrize(("name", "target"), CASES, ids=lambda v: Path(str(v)).stem)
def test_all_nests_of_tensor_steps_are_merged(
    name: str, target: str, request: pytest.FixtureRequest
) -> None:
    if (Path(name).stem, target) == ("mlperf_tiny_ic_resnet8_int8", "nvdla-like-small"):
        reason = "tables of one channel, in tiles of one, are not followed to DRAM: 51 instructions"
        request.applymarker(pytest.mark.xfail(strict=True, reason=reason))
    session = compiled(name, target).session
    assert session.plan is not None
    assert {piece.why for piece in session.plan.pieces if not piece.merged} <= ONE_BY_ONE


@pytest.mark.parametrize("name", [name for name in QUANTISED if name in IN_PART])
def test_some_of_these_are_in_part(name: str) -> None:
    session = compiled(name, "shidiannao-like").session
    assert any(symbol.head for symbol in session.symbols.values())


def test_tensors_that_groups_leave_out_are_computed() -> None:
    """Maps on chip give their place to later ones; groups leave the maps there."""
    model, feeds = compiled(SMALL[0], "eyeriss-like"), feeds_of(SMALL[0], 1)
    stale = sorted(name for name in model.session.symbols if not model.session.groups([name]))
    assert stale
    model.session.run(None, feeds, grouped=True)
    memory = in_memory(model, stale)
    model.session.run(None, feeds, grouped=False)
    for got, expected in zip(memory, in_memory(model, stale), strict=True):
        np.testing.assert_array_equal(got, expected)


def test_groups_are_used_once_they_pay() -> None:
    model, feeds = compiled(SMALL[0], "tpu-like"), feeds_of(SMALL[0], 1)
    session = type(model.session)(model.session.image)
    used = []
    for _ in range(60):
        session.run(None, feeds)
        used.append(bool(session._grouped))
    assert not used[0] and used[-1] and used == sorted(used)
    session.run(None, feeds, schedule="random:1")
    assert not session._grouped
