"""The costs that compiler and simulator share: bursts, runs, ports, lanes."""

from math import prod

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dnncc.isa import pool
from dnncc.targets import cost, load


@pytest.mark.parametrize(
    ("sizes", "strides", "runs"),
    [
        ((4, 5, 6), (30, 6, 1), (1, 120)),  # dense
        ((4, 5, 6), (60, 6, 1), (4, 30)),  # gaps of 30 bytes between blocks of 30
        ((4, 5, 6), (300, 60, 1), (20, 6)),
        ((4, 5), (7, 1), (1, 26)),  # the next row begins within the burst of the one before
        ((4, 5), (9, 1), (4, 5)),
        ((5, 4), (1, 100), (20, 1)),  # a transposing walk pays for each element
        ((3, 16), (0, 1), (1, 16)),  # a row that is repeated is read once
        ((1, 1), (0, 0), (1, 1)),
        ((0, 4), (4, 1), (0, 4)),
    ],
)
def test_runs_of_bytes_with_bursts_of_8(
    sizes: tuple[int, ...], strides: tuple[int, ...], runs: tuple[int, int]
) -> None:
    count, length = cost.contiguous_runs(sizes, strides, 1, 8)
    assert (int(count), int(length)) == runs


@given(
    st.lists(st.tuples(st.integers(1, 6), st.integers(0, 40)), min_size=1, max_size=4),
    st.sampled_from([1, 2, 4]),
    st.sampled_from([1, 8, 64]),
)
def test_the_bus_moves_all_and_never_more_than_element_by_element(
    block: list[tuple[int, int]], element: int, burst: int
) -> None:
    sizes, strides = zip(*block, strict=True)
    count, length = cost.contiguous_runs(sizes, strides, element, burst)
    bus = int(cost.dma_bus_bytes(count, length, burst))
    offsets = {
        int(np.dot(i, strides)) * element + b for i in np.ndindex(*sizes) for b in range(element)
    }
    assert bus >= len(offsets)
    assert bus <= prod(sizes) * -(-element // burst) * burst
    assert bus % burst == 0


def test_many_blocks_at_once() -> None:
    rows = np.array([1, 2, 3])
    count, length = cost.contiguous_runs((rows, 5), (np.array([5, 5, 50]), 1), 1, 8)
    assert count.tolist() == [1, 1, 3]
    assert length.tolist() == [5, 10, 5]


def test_cycles() -> None:
    assert cost.dma_cycles(120, 10, 2.4, 8) == 50
    assert cost.dma_cycles(120, 1000, 2.4, 8) == 125
    assert cost.vector_cycles(np.array([1, 4, 5]), 4, 2).tolist() == [3, 3, 4]
    assert cost.issue_cycles(np.array([8, 40]), 8.0, 2).tolist() == [2, 5]


def pools(**changes: object) -> cost.Pool:
    """3x3 windows at every other place of 9 x 9 elements of each of 8 channels: 16 results each."""
    rest = {"side": 3, "dilation": 1, "op": pool.MAX, "element": 1}
    return cost.Pool(**{"x": 8 * 81, "results": 8 * 16, "taps": 9, **rest, **changes})


def test_a_pooling_unit_takes_each_element_once() -> None:
    full, tpu = load("nvdla-like-full"), load("tpu-like")
    assert pools().cycles(full) == 8 * 81 // 8 + 8
    assert pools().elements(full) == 8 * 81
    # more results than elements, where a window is mostly in the padding
    assert pools(x=8, op=np.array([pool.MEAN])).cycles(full) == [16 + 8]
    # 16 lanes, nine taps for each result
    for other in ({"op": pool.SUM}, {"side": 9}, {"dilation": 2}, {"element": 4}):
        assert pools(**other).cycles(full) == 8 * 16 * 9 // 16 + 8
        assert pools(**other).elements(full) == 8 * 16 * 9
    lanes = tpu.vector
    assert pools().cycles(tpu) == -(-8 * 16 * 9 // lanes.lanes) + lanes.latency_cycles


def test_a_pooling_unit_is_at_work_behind_the_lanes() -> None:
    full, tpu = load("nvdla-like-full"), load("tpu-like")
    assert pools().head(full) == 8 * 81 // 8
    assert pools(side=9).head(full) == pools().head(tpu) == 0
    assert (cost.handed_on(50, 8, full), cost.handed_on(50, 8, tpu)) == (42, 0)
