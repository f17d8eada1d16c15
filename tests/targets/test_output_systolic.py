"""Output-stationary systolic: cycles by hand, and the closed forms against the PEs."""

from importlib import import_module
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dnncc.targets import Target, dataflow, load, loads
from tests.targets.pes import OF_SYSTOLIC_ARRAYS, check, row

Work = dataflow.Work
os: Any = import_module("dnncc.targets.dataflow.output_systolic")
GEMMINI = load("gemmini-like-os")
FLOW = dataflow.model(GEMMINI)


def systolic(rows: int, cols: int) -> Target:
    array = f'dataflow = "output_systolic"\nrows = {rows}\ncols = {cols}'
    return loads(f'extends = "tpu-like"\n[array]\n{array}')


@pytest.mark.parametrize("depth", [1, 5, 300])
def test_a_full_fold_is_as_in_scale_sim(depth: int) -> None:
    # SCALE-Sim's analytical model, output stationary: 2*rows + cols + depth - 2
    assert FLOW.cycles(GEMMINI, Work.matmul(16, depth, 16), row(1)) == 2 * 16 + 16 + depth - 2


def test_folds_by_hand() -> None:
    # 2 x 2 folds of 100 elements, one after another; the last psum leaves 30 + 4 cycles later
    work = Work.matmul(20, 100, 20)
    assert FLOW.cycles(GEMMINI, work, row(1)) == 4 * 100 + 30 + 4
    assert [int(x) for x in FLOW.phases(GEMMINI, work, row(1))] == [0, 400, 34, 0]
    # 9 elements are less than the 16 cycles in which psums shift out
    assert FLOW.cycles(GEMMINI, Work.matmul(20, 9, 20), row(1)) == 9 + 3 * 16 + 30 + 4


def test_depthwise_packs_groups() -> None:
    work = Work.of(g=64, p=14, q=14, r=3, s=3)
    # a group has 9 elements, and psums shift out in 16 cycles; two groups have 18
    assert FLOW.choose(GEMMINI, work) == [2]
    folds = 13  # of 196 pixels
    assert FLOW.cycles(GEMMINI, work, row(2)) == 32 * folds * 18 + 30 + 2
    assert FLOW.explain(GEMMINI, work, row(17)) == "17 groups do not fit on 16 columns"
    assert FLOW.explain(GEMMINI, work, row(0)) == "packed is not in 1..255"
    assert FLOW.active_pes(GEMMINI, work, row(16)) == 256
    empty = Work.from_table(work.table()[None] * 0)
    assert not FLOW.legal(GEMMINI, empty, row(1)[None]).any()
    assert FLOW.explain(GEMMINI, empty, row(1)[None]) == "the tile is empty"


ARRAYS = st.builds(systolic, st.integers(1, 9), st.integers(1, 9))


@given(OF_SYSTOLIC_ARRAYS, ARRAYS)
@settings(max_examples=100, deadline=None)
def test_the_choice_is_the_best_of_all(sizes: dict[str, int], target: Target) -> None:
    work, every = Work.of(**sizes), np.arange(1, 10)[:, None]
    fits = FLOW.legal(target, work, every)
    chosen = FLOW.choose(target, work)
    assert FLOW.legal(target, work, chosen)
    assert FLOW.cycles(target, work, chosen) == FLOW.cycles(target, work, every[fits]).min()


@given(OF_SYSTOLIC_ARRAYS, ARRAYS, st.integers(1, 5), st.integers(0, 2**32))
@settings(max_examples=500, deadline=None)
def test_closed_forms_equal_the_pes(
    sizes: dict[str, int], target: Target, packed: int, seed: int
) -> None:
    work, params = Work.of(**sizes), row(packed)
    params = params if FLOW.legal(target, work, params) else FLOW.choose(target, work)
    check(FLOW, os.simulate, target, work, params, seed)


def test_many_tiles_at_once_are_as_one_by_one() -> None:
    work = Work.of(g=[[3], [40]], k=[1, 5, 300], c=2, p=7, q=9, r=3, s=3)
    params = FLOW.choose(GEMMINI, work)
    cycles, counts = FLOW.cycles(GEMMINI, work, params), FLOW.accesses(GEMMINI, work, params)
    for at in np.ndindex(2, 3):
        one = Work.from_table(work.table()[at])
        assert np.array_equal(FLOW.choose(GEMMINI, one), params[at])
        assert FLOW.cycles(GEMMINI, one, params[at]) == cycles[at]
        assert {k: v[at] for k, v in counts.items()} == FLOW.accesses(GEMMINI, one, params[at])
