"""Output stationary: cycles by hand, ShiDianNao's own figures, and the closed forms against the
PEs."""

from importlib import import_module
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from dnncc.targets import Target, dataflow, load, loads
from tests.targets.pes import check, row

Work = dataflow.Work
os: Any = import_module("dnncc.targets.dataflow.output_stationary_sim")
CHIP = load("shidiannao-like")
FLOW = dataflow.model(CHIP)


def grid(rows: int, cols: int, ifmaps: int, weights: int, psums: int) -> Target:
    return loads(
        f'extends = "tpu-like"\n[array]\ndataflow = "output_stationary"\nrows = {rows}\n'
        f"cols = {cols}\nifmap_words_per_cycle = {ifmaps}\nweight_words_per_cycle = {weights}\n"
        f"psums_per_cycle = {psums}"
    )


def test_a_convolution_takes_a_cycle_per_tap() -> None:
    # ShiDianNao: ceil(Wo/8) * ceil(Ho/8) * Nof * Nif * Kx * Ky, and 8 cycles out of each block
    work = Work.of(k=6, c=3, p=24, q=16, r=5, s=5)
    assert FLOW.cycles(CHIP, work, row(8, 8, 1)) == 3 * 2 * 6 * (3 * 25 + 8)
    assert FLOW.cycles(CHIP, work, FLOW.choose(CHIP, work)) == 3 * 2 * 6 * (3 * 25 + 8)


def test_a_fully_connected_layer_has_64_outputs_at_a_time() -> None:
    work = Work.matmul(1, 500, 100)
    assert FLOW.cycles(CHIP, work, row(1, 1, 64)) == (500 + 8) + (500 + 5)  # 64, then 36 psums
    assert FLOW.cycles(CHIP, work, FLOW.choose(CHIP, work)) <= 508 + 506
    assert FLOW.active_pes(CHIP, work, row(1, 1, 64)) == 64


def test_neighbours_pass_on_what_they_had() -> None:
    # a block of 8 x 8 pixels and a filter of 3 x 3 need 10 x 10 words, each read once
    work = Work.of(p=8, q=8, r=3, s=3)
    counts = {k: int(v) for k, v in FLOW.accesses(CHIP, work, row(8, 8, 1)).items()}
    assert counts == {
        "mac": 576,
        "glb_ifmap": 100,
        "noc_ifmap": 576,
        "rf_ifmap": 576 + 476,  # each word into a FIFO, and out of it where a neighbour needs it
        "glb_weight": 9,
        "noc_weight": 576,
        "rf_weight": 0,
        "rf_psum": 2 * 576,
        "noc_psum": 64,
        "glb_psum": 64,
    }
    # a stride of 2: 17 x 17; a dilation of 2: nothing is shared
    by_two = Work.of(p=8, q=8, r=3, s=3, stride_y=2, stride_x=2)
    assert FLOW.accesses(CHIP, by_two, row(8, 8, 1))["glb_ifmap"] == 17 * 17
    apart = Work.of(p=8, q=8, r=3, s=3, dilation_y=2, dilation_x=2)
    assert FLOW.accesses(CHIP, apart, row(8, 8, 1))["glb_ifmap"] == 24 * 24


def test_a_slow_memory_shows() -> None:
    # 4 x 4 PEs, 5 words per cycle: the first tap needs 16 -> 4 cycles; 2 more of the first row 4
    # -> 1 cycle; of the 2 other rows of taps the first need 4, the rest 1; 16 psums at 3 -> 6
    work = Work.of(p=4, q=4, r=3, s=3)
    assert FLOW.cycles(grid(4, 4, 5, 1, 3), work, row(4, 4, 1)) == 4 + 2 + 2 + 4 + 6
    # 4 sets share the words but have a weight each
    work = Work.of(k=4, p=2, q=2, r=3, s=3)
    assert FLOW.cycles(grid(4, 4, 5, 2, 3), work, row(2, 2, 4)) == 9 * 2 + 6


def test_explain_names_the_rule() -> None:
    work = Work.of(k=9, p=9, q=9)
    for params, why in (
        (row(8, 8, 1), ""),
        (row(3, 4, 4), ""),
        (row(3, 4, 5), "the sets do not fit on 8 x 8 PEs"),
        (row(9, 1, 1), "the sets do not fit on 8 x 8 PEs"),
        (row(1, 0, 1), "cols is not in 1..255"),
    ):
        assert FLOW.explain(CHIP, work, params) == why
        assert bool(FLOW.legal(CHIP, work, params)) == (why == "")
    empty = Work.from_table(work.table()[None] * 0)
    assert FLOW.explain(CHIP, empty, row(1, 1, 1)[None]) == "the tile is empty"


SIZES = st.fixed_dictionaries(
    {
        "accumulate": st.integers(0, 1),
        "n": st.integers(1, 2),
        **{name: st.integers(1, 3) for name in ("stride_y", "stride_x", "g", "c")},
        **{name: st.integers(1, 3) for name in ("r", "s", "dilation_y", "dilation_x")},
        **{name: st.integers(1, 5) for name in ("k", "p", "q")},
    }
)
ARRAYS = st.builds(grid, *[st.integers(1, 5)] * 2, st.integers(1, 20), *[st.integers(1, 6)] * 2)
EVERY = np.stack(np.meshgrid(*[np.arange(1, 6)] * 2, np.arange(1, 26)), -1).reshape(-1, 3)


@given(SIZES, ARRAYS)
@settings(max_examples=100, deadline=None)
def test_the_choice_is_near_the_best_of_all(sizes: dict[str, int], target: Target) -> None:
    work = Work.of(**sizes)
    best = FLOW.cycles(target, work, EVERY[FLOW.legal(target, work, EVERY)]).min()
    chosen = FLOW.choose(target, work)
    assert FLOW.explain(target, work, chosen) == ""
    # rounding of words per cycle may favour an odd size that is not proposed
    assert best <= FLOW.cycles(target, work, chosen) <= 1.3 * best


@given(SIZES, ARRAYS, st.tuples(*[st.integers(1, 3)] * 3), st.integers(0, 2**32))
@settings(max_examples=500, deadline=None)
def test_closed_forms_equal_the_pes(
    sizes: dict[str, int], target: Target, wish: tuple[int, ...], seed: int
) -> None:
    work, params = Work.of(**sizes), row(*wish)
    params = params if FLOW.legal(target, work, params) else FLOW.choose(target, work)
    check(FLOW, os.simulate, target, work, params, seed)


def test_many_tiles_at_once_are_as_one_by_one() -> None:
    work = Work.of(g=[[3], [40]], k=[1, 5, 300], c=2, p=7, q=9, r=3, s=3)
    params = FLOW.choose(CHIP, work)
    cycles, counts = FLOW.cycles(CHIP, work, params), FLOW.accesses(CHIP, work, params)
    for at in np.ndindex(2, 3):
        one = Work.from_table(work.table()[at])
        assert np.array_equal(FLOW.choose(CHIP, one), params[at])
        assert FLOW.cycles(CHIP, one, params[at]) == cycles[at]
        assert {k: v[at] for k, v in counts.items()} == FLOW.accesses(CHIP, one, params[at])
