"""Zeros in the data: the bytes of the code against the code itself, gated MACs against loops."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dnncc.targets import coding, dataflow, load

Values = npt.NDArray[np.int64]
Work = dataflow.Work


def encode(row: list[int], level_bits: int) -> list[list[tuple[int, int]]]:
    """The words of the code of a row, each a list of (run, level), value by value."""
    pairs: list[tuple[int, int]] = []
    run = 0
    for value in row:
        if value == 0 and run < 31:
            run += 1
            continue
        pairs.append((run, value))
        run = 0
    if run:
        pairs.append((run - 1, 0))
    size = 63 // (5 + level_bits)
    return [pairs[i : i + size] for i in range(0, len(pairs), size)]


def decode(words: list[list[tuple[int, int]]]) -> list[int]:
    return [v for word in words for run, level in word for v in [0] * run + [level]]


def test_the_papers_example() -> None:
    row = [0, 0, 12, 0, 0, 0, 0, 53, 0, 0, 22]
    assert encode(row, 16) == [[(2, 12), (4, 53), (2, 22)]]
    assert coding.rlc_bytes(np.array(row)) == 8


ROWS = st.lists(
    st.tuples(st.integers(0, 70), st.integers(1, 9)).map(lambda p: [0] * p[0] + [1] * p[1]),
    max_size=6,
).map(lambda parts: sum(parts, []))


@given(ROWS, st.integers(0, 70), st.sampled_from([8, 16]), st.integers(-3, 3))
@settings(max_examples=500, deadline=None)
def test_bytes_are_those_of_the_code(row: list[int], end: int, bits: int, zero: int) -> None:
    row = row + [0] * end
    words = encode(row, bits)
    assert decode(words) == row
    assert coding.rlc_bytes(np.array(row, np.int64) + zero, zero, bits) == 8 * len(words)


def test_rows_are_coded_one_by_one() -> None:
    rng = np.random.default_rng(5)
    values = rng.integers(0, 9, (3, 4, 200)) * (rng.random((3, 4, 200)) < 0.1)
    each = coding.rlc_bytes(values)
    assert each.shape == (3, 4)
    assert each[1, 2] == coding.rlc_bytes(values[1, 2])


def test_the_ratio_is_that_of_the_chip() -> None:
    # (1 - z) * (64/3) / 16 of the size, while runs are short
    rng = np.random.default_rng(6)
    values = np.where(rng.random(30_000) < 0.75, 0, 7)
    assert coding.rlc_bytes(values) / (2 * values.size) == pytest.approx(0.25 * 4 / 3, rel=0.02)


SIZES = st.fixed_dictionaries(
    {
        **{name: st.integers(1, 2) for name in ("n", "g", "c", "k")},
        **{name: st.integers(1, 4) for name in ("p", "q", "r", "s")},
        **{name: st.integers(1, 3) for name in ("stride_y", "stride_x")},
        **{name: st.integers(1, 3) for name in ("dilation_y", "dilation_x")},
    }
)


def counted(work: Any, padded: Values) -> int:
    """Zero operands, MAC by MAC, of [n, g, c, h, w] with its padding."""
    zeros = 0
    for p, q, r, s in np.ndindex(int(work.p), int(work.q), int(work.r), int(work.s)):
        y = p * work.stride_y + r * work.dilation_y
        x = q * work.stride_x + s * work.dilation_x
        zeros += int((padded[..., y, x] == 0).sum()) * int(work.k)
    return zeros


@given(SIZES, st.integers(0, 2), st.integers(0, 2), st.integers(-2, 2), st.integers(0, 2**32))
@settings(max_examples=300, deadline=None)
def test_zero_macs_are_counted(
    sizes: dict[str, int], top: int, left: int, zero: int, seed: int
) -> None:
    work, rng = Work.of(**sizes), np.random.default_rng(seed)
    shape = tuple(int(getattr(work, name)) for name in "ngchw")
    padded = rng.integers(0, 3, shape)
    top, left = min(top, shape[3] - 1), min(left, shape[4] - 1)
    padded[:, :, :, :top] = padded[..., :left] = 0
    inside = padded[:, :, :, top:, left:] + zero
    assert coding.zero_macs(work, inside, zero, (top, left)) == counted(work, padded)


def test_gating_saves_the_multiplication_and_the_weight() -> None:
    target, work = load("eyeriss-like"), Work.of(k=2, p=3, q=3, r=2, s=2)
    assert target.energy.gates_zeros and target.dram.run_length_coding
    flow = dataflow.model(target)
    counts = flow.accesses(target, work, flow.choose(target, work))
    less = coding.gated(counts, 10)
    assert counts["mac"] - less["mac"] == counts["rf_weight"] - less["rf_weight"] == 10
    assert less["rf_psum"] == counts["rf_psum"]
    diannao = load("diannao-like")
    flow = dataflow.model(diannao)
    counts = flow.accesses(diannao, work, flow.choose(diannao, work))
    assert coding.gated(counts, 10)["rf_weight"] == 0
