"""Weight stationary: cycles by hand, and the closed forms against the PEs cycle by cycle."""

from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dnncc.targets import Target, dataflow, load, loads
from tests.targets.pes import OF_SYSTOLIC_ARRAYS, check

Work = dataflow.Work
ws: Any = import_module("dnncc.targets.dataflow.weight_stationary_sim")
TPU = load("tpu-like")
ODD = load(Path(__file__).parent / "odd-systolic-13x7.toml")
FLOW = dataflow.model(TPU)
ONE = np.array([1], np.int64)


def systolic(rows: int, cols: int, buffers: int = 2, rate: int = 1) -> Target:
    return loads(
        f'extends = "tpu-like"\n[array]\nrows = {rows}\ncols = {cols}\n'
        f"weight_buffers = {buffers}\nweight_rows_per_cycle = {rate}\n"
        f'[[memory]]\nname = "wfifo"\nbytes_per_cycle = {256 * rate}'
    )


def test_one_fold_by_hand() -> None:
    # 13 x 7: load 2 rows; vectors enter in cycles 2, 3, 4; the last one is at row 12 of column 0
    # 12 cycles later and of column 1 after 13: cycle 4 + 13 is the 18th
    work = Work.matmul(3, 2, 2)
    assert FLOW.cycles(ODD, work, ONE) == 18
    assert [int(x) for x in FLOW.phases(ODD, work, ONE)] == [2, 3, 13, 0]


def test_two_folds_by_hand_with_one_buffer() -> None:
    # 15 rows of weights: 13, then 2; start at 13, end of stream 16, load 2, start at 18;
    # the last of 3 vectors enters in cycle 20 and leaves after 12 + 1 more: the 34th cycle
    assert FLOW.cycles(ODD, Work.matmul(3, 15, 2), ONE) == 34


def test_two_folds_by_hand_with_two_buffers() -> None:
    # load 256; the next load begins with the stream of 200 and is longer: start at 512; the last
    # vector enters in cycle 711 and leaves after 255 + 255 more: the 1222nd cycle
    work = Work.matmul(200, 512, 256)
    assert FLOW.cycles(TPU, work, ONE) == 1222
    # back to back the next instruction's load hides behind the stream of the last fold
    head, body, tail, hide = (int(x) for x in FLOW.phases(TPU, work, ONE))
    assert (head, body, tail, hide) == (256, 456, 510, 200)
    # 300 vectors hide the load: start at 256 and 556, last vector in cycle 855
    assert FLOW.cycles(TPU, Work.matmul(300, 512, 256), ONE) == 855 + 255 + 255 + 1


def test_a_wide_fold_may_leave_after_a_narrow_one() -> None:
    # 7 + 1 columns, one row, one vector: starts at 1 and, after the load of 1, at 3; the first fold
    # leaves in cycle 1 + 12 + 6 = 19, the second in cycle 3 + 12 + 0 = 15
    assert FLOW.cycles(ODD, Work.matmul(1, 1, 8), ONE) == 20


@pytest.mark.parametrize("vectors", [1, 5, 300])
def test_a_full_fold_is_as_in_scale_sim(vectors: int) -> None:
    # SCALE-Sim's analytical model, weight stationary: 2*rows + cols + vectors - 2
    assert FLOW.cycles(TPU, Work.matmul(vectors, 256, 256), ONE) == 2 * 256 + 256 + vectors - 2


def test_one_vector_per_cycle_in_the_long_run() -> None:
    work = Work.matmul(4096, 4096, 256)
    assert work.macs() / FLOW.cycles(TPU, work, ONE) / TPU.pes > 0.98


def test_psums_are_read_but_for_the_first_fold() -> None:
    work = Work.matmul(3, 30, 9)  # three folds over the reduction, two over the columns
    assert FLOW.accesses(ODD, work, ONE)["glb_psum"] == 3 * 9 * 5
    work = Work.matmul(3, 30, 9, accumulate=1)
    assert FLOW.accesses(ODD, work, ONE)["glb_psum"] == 3 * 9 * 6


def test_depthwise_packs_groups_along_the_diagonal() -> None:
    work = Work.of(g=64, p=14, q=14, r=3, s=3)
    params = FLOW.choose(TPU, work)
    assert params == [22]  # 28 would fit, but three folds are needed from 22 on
    assert FLOW.cycles(TPU, work, params) < FLOW.cycles(TPU, work, ONE) / 10
    assert FLOW.explain(TPU, work, np.array([28])) == ""
    assert FLOW.explain(TPU, work, np.array([29])) == "29 groups do not fit on 256 x 256 PEs"
    assert FLOW.explain(TPU, work, np.array([0])) == "packed is not in 1..255"
    large = Work.of(g=4, c=500, k=500)
    assert FLOW.choose(TPU, large) == [1]
    assert FLOW.explain(TPU, large, ONE) == ""
    empty = Work.from_table(work.table()[None] * 0)
    assert not FLOW.legal(TPU, empty, ONE[None]).any()
    assert FLOW.explain(TPU, empty, ONE[None]) == "the tile is empty"


def test_active_pes_hold_a_weight() -> None:
    assert FLOW.active_pes(TPU, Work.matmul(3, 300, 100), ONE) == 256 * 100
    depthwise = Work.of(g=64, p=14, q=14, r=3, s=3)
    assert FLOW.active_pes(TPU, depthwise, FLOW.choose(TPU, depthwise)) == 22 * 9


ARRAYS = st.builds(
    systolic, st.integers(1, 9), st.integers(1, 9), st.integers(1, 2), st.integers(1, 3)
)


@given(OF_SYSTOLIC_ARRAYS, ARRAYS)
@settings(max_examples=100, deadline=None)
def test_the_choice_is_the_best_of_all(sizes: dict[str, int], target: Target) -> None:
    work, every = Work.of(**sizes), np.arange(1, 10)[:, None]
    fits = FLOW.legal(target, work, every)
    chosen = FLOW.choose(target, work)
    assert FLOW.legal(target, work, chosen)
    assert FLOW.cycles(target, work, chosen) == FLOW.cycles(target, work, every[fits]).min()


@given(OF_SYSTOLIC_ARRAYS, ARRAYS, st.integers(1, 9), st.integers(0, 2**32))
@settings(max_examples=500, deadline=None)
def test_closed_forms_equal_the_pes(
    sizes: dict[str, int], target: Target, packed: int, seed: int
) -> None:
    work, params = Work.of(**sizes), np.array([packed])
    params = params if FLOW.legal(target, work, params) else FLOW.choose(target, work)
    check(FLOW, ws.simulate, target, work, params, seed)


def test_many_tiles_at_once_are_as_one_by_one() -> None:
    work = Work.of(g=[[3], [40]], k=[1, 5, 300], c=2, p=7, q=9, r=3, s=3)
    params = FLOW.choose(TPU, work)
    assert params.shape == (2, 3, 1)
    cycles, counts = FLOW.cycles(TPU, work, params), FLOW.accesses(TPU, work, params)
    for at in np.ndindex(2, 3):
        one = Work.from_table(work.table()[at])
        assert np.array_equal(FLOW.choose(TPU, one), params[at])
        assert FLOW.cycles(TPU, one, params[at]) == cycles[at]
        assert {k: v[at] for k, v in counts.items()} == FLOW.accesses(TPU, one, params[at])


def test_sizes_below_one_and_unknown_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match="p must be >= 1"):
        Work.of(p=[3, 0])
    with pytest.raises(TypeError):
        Work.of(depth=3)
