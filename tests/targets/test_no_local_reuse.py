"""No local reuse: cycles by hand, and the closed forms against the multipliers cycle by cycle."""

from importlib import import_module
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dnncc.targets import Target, dataflow, load, loads
from tests.targets.pes import check, row

Work = dataflow.Work
nlr: Any = import_module("dnncc.targets.dataflow.no_local_reuse_sim")
DIANNAO, NVDLA = load("diannao-like"), load("nvdla-like-full")
FLOW = dataflow.model(DIANNAO)


def trees(rows: int, cols: int, stripe: int, rate: int, pipeline: int, joins: bool) -> Target:
    return loads(
        f'extends = "tpu-like"\n[array]\ndataflow = "no_local_reuse"\n'
        f"rows = {rows}\ncols = {cols}\n"
        f"stripe = {stripe}\nweight_words_per_cycle = {rate}\npipeline_cycles = {pipeline}\n"
        f"joins_taps = {str(joins).lower()}"
    )


def test_diannao_by_hand() -> None:
    # one load, then a pixel, a tap and 16 channels for 16 filters per cycle; the pipeline of 3
    work = Work.of(k=200, c=112, p=29, q=29, r=4, s=4)
    assert FLOW.cycles(DIANNAO, work, row(1, 1, 1)) == 1 + 29 * 29 * 13 * 7 * 16 + 3
    assert np.array_equal(FLOW.choose(DIANNAO, work), row(1, 1, 1))


def test_few_channels_join_taps() -> None:
    # 5 taps of 3 channels on 16 multipliers: 25 taps in 5 atomic operations
    work = Work.of(k=16, c=3, p=9, q=9, r=5, s=5)
    assert FLOW.cycles(DIANNAO, work, row(1, 5, 1)) == 1 + 81 * 5 + 3
    assert FLOW.cycles(DIANNAO, work, FLOW.choose(DIANNAO, work)) == 1 + 81 * 5 + 3
    assert FLOW.active_pes(DIANNAO, work, row(1, 5, 1)) == 15 * 16
    assert FLOW.explain(DIANNAO, work, row(1, 6, 1)) != ""
    assert FLOW.explain(NVDLA, work, row(1, 2, 1)) == "the array does not join taps"


def test_stripes_hide_the_weights() -> None:
    # 2048 weights in 16 cycles; stripes of 32, 32 and 1 pixel, of 2 blocks of 64 channels each
    work = Work.matmul(65, 128, 32)
    assert FLOW.cycles(NVDLA, work, row(1, 1, 32)) == 16 + 2 * (32 + 32) + 16 + 1 + 8
    # stripes of 22, 22 and 21 lose nothing
    assert FLOW.cycles(NVDLA, work, row(1, 1, 22)) == 16 + 2 * 65 + 8
    assert FLOW.cycles(NVDLA, work, FLOW.choose(NVDLA, work)) == 16 + 2 * 65 + 8
    # a fully connected layer waits for its weights
    alone = Work.matmul(1, 128, 32)
    assert FLOW.cycles(NVDLA, alone, row(1, 1, 1)) == 16 + 16 + 1 + 8
    head, _, tail, hide = (int(x) for x in FLOW.phases(NVDLA, work, row(1, 1, 22)))
    assert (head, tail, hide) == (16, 8, 21)


def test_depthwise_packs_groups() -> None:
    work = Work.of(g=64, p=14, q=14, r=3, s=3)
    packed, taps, _ = FLOW.choose(NVDLA, work).tolist()
    assert (packed, taps) == (32, 1)
    assert FLOW.explain(NVDLA, work, row(33, 1, 1)) != ""
    assert FLOW.active_pes(NVDLA, work, row(32, 1, 1)) == 32


def test_weights_are_read_per_stripe() -> None:
    work = Work.of(k=20, c=20, p=3, q=3, r=2, s=2, accumulate=1)
    counts = FLOW.accesses(DIANNAO, work, row(1, 1, 1))
    assert counts["glb_weight"] == work.macs()  # no reuse
    assert counts["glb_ifmap"] == 2 * 9 * 20 * 4  # 2 blocks of filters
    assert counts["glb_psum"] == 2 * 20 * 9
    assert FLOW.accesses(NVDLA, work, row(1, 1, 5))["glb_weight"] == 2 * 20 * 20 * 4


def test_explain_names_the_rule() -> None:
    work = Work.of(g=9, k=3, c=3, p=9, q=9, r=3, s=3)
    for params, why in (
        (row(1, 1, 1), ""),
        (row(0, 1, 1), "packed is not in 1..255"),
        (row(1, 1, 2), "a stripe has at most 1 pixels"),
        (row(5, 2, 1), "the channels of groups and taps do not fit on 16 multipliers"),
        (row(6, 1, 1), "the channels of groups and taps do not fit on 16 multipliers"),
    ):
        assert FLOW.explain(DIANNAO, work, params) == why
        assert bool(FLOW.legal(DIANNAO, work, params)) == (why == "")
    empty = Work.from_table(work.table()[None] * 0)
    assert FLOW.explain(DIANNAO, empty, row(1, 1, 1)[None]) == "the tile is empty"
    wide = Work.of(g=9, k=9)
    assert FLOW.explain(DIANNAO, wide, row(2, 1, 1)).startswith("the filters of the groups")


SIZES = st.fixed_dictionaries(
    {
        "accumulate": st.integers(0, 1),
        **{name: st.integers(1, 2) for name in ("n", "stride_y", "stride_x", "dilation_x")},
        **{name: st.integers(1, 3) for name in ("p", "q", "r", "s", "dilation_y")},
        **{name: st.integers(1, 5) for name in ("k", "g", "c")},
    }
)
SIDE = st.integers(1, 9)
ARRAYS = st.builds(
    trees, SIDE, SIDE, st.integers(1, 6), st.integers(1, 20), st.integers(0, 4), st.booleans()
)


@given(SIZES, ARRAYS)
@settings(max_examples=100, deadline=None)
def test_the_choice_is_the_best_of_all(sizes: dict[str, int], target: Target) -> None:
    work = Work.of(**sizes)
    every = np.stack(np.meshgrid(*[np.arange(1, 10)] * 2, np.arange(1, 7)), -1).reshape(-1, 3)
    best = FLOW.cycles(target, work, every[FLOW.legal(target, work, every)]).min()
    chosen = FLOW.choose(target, work)
    assert FLOW.explain(target, work, chosen) == ""
    # a stripe that is neither full nor one of few, even ones may leave less over
    assert best <= FLOW.cycles(target, work, chosen) <= 1.1 * best + 2


@given(SIZES, ARRAYS, st.tuples(*[st.integers(1, 3)] * 3), st.integers(0, 2**32))
@settings(max_examples=500, deadline=None)
def test_closed_forms_equal_the_multipliers(
    sizes: dict[str, int], target: Target, wish: tuple[int, ...], seed: int
) -> None:
    work, params = Work.of(**sizes), row(*wish)
    params = params if FLOW.legal(target, work, params) else FLOW.choose(target, work)
    check(FLOW, nlr.simulate, target, work, params, seed)


@pytest.mark.parametrize("target", [DIANNAO, NVDLA], ids=["diannao", "nvdla"])
def test_many_tiles_at_once_are_as_one_by_one(target: Target) -> None:
    work = Work.of(g=[[3], [40]], k=[1, 5, 300], c=2, p=7, q=9, r=3, s=3)
    params = FLOW.choose(target, work)
    cycles, counts = FLOW.cycles(target, work, params), FLOW.accesses(target, work, params)
    for at in np.ndindex(2, 3):
        one = Work.from_table(work.table()[at])
        assert np.array_equal(FLOW.choose(target, one), params[at])
        assert FLOW.cycles(target, one, params[at]) == cycles[at]
        assert {k: v[at] for k, v in counts.items()} == FLOW.accesses(target, one, params[at])
