"""Grouping: what is proved before instructions are merged, and that sums stay exact."""

from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace

from dnncc.isa import core, elementwise, numerics, vector
from dnncc.isa import image as images
from dnncc.runtime import load, machine
from dnncc.runtime.grouping import (
    boxes,
    convolution,
    factors,
    gathering,
    lookup,
    operands,
    writers,
)

S8, U8, I16 = 0, 1, 2


def tiles(first: list[int], sizes: list[list[int]], strides: list[int]) -> operands.Operand:
    """int8 blocks of memory 1."""
    count = len(first)
    table = np.array(sizes).T
    return operands.Operand.at(count, (1, np.array(first)), table, strides, S8)


# Boxes


def test_cells_of_a_grid_are_a_box() -> None:
    """7 x 5 bytes in rows of 10, cut after 4 rows and after 3 columns."""
    found = boxes.box(tiles([0, 3, 40, 43], [[4, 3], [4, 2], [3, 3], [3, 2]], [10, 1]))
    assert found.sizes == (7, 5)
    assert found.first.tolist() == [[0, 0], [0, 3], [4, 0], [4, 3]]
    assert (found.block.start, found.block.strides) == (0, (10, 1))


@pytest.mark.parametrize(
    ("first", "sizes"),
    [
        ([0, 3, 40], [[4, 3], [4, 2], [3, 3]]),
        ([0, 4, 40, 44], [[4, 3], [4, 2], [3, 3], [3, 2]]),
        ([0, 3, 40, 43, 43], [[4, 3], [4, 2], [3, 3], [3, 2], [3, 2]]),
        ([0, 2, 40, 42], [[4, 3], [4, 2], [3, 3], [3, 2]]),
    ],
    ids=["missing", "gap", "twice", "overlap"],
)
def test_what_is_no_box(first: list[int], sizes: list[list[int]]) -> None:
    with pytest.raises(operands.Ungrouped):
        boxes.box(tiles(first, sizes, [10, 1]))


def test_cells_that_reach_into_the_next_are_a_box_where_that_may_be() -> None:
    first, sizes = np.array([[0, 0], [0, 3], [3, 0], [3, 3]]), np.array([[4, 3], [4, 2]] * 2)
    assert boxes.partition(first, sizes, shared=(0,)) == (7, 5)
    for shared in ((), (1,)):
        with pytest.raises(operands.Ungrouped):
            boxes.partition(first, sizes, shared)
    with pytest.raises(operands.Ungrouped):  # a row is missing
        boxes.partition(first, sizes - [2, 0], shared=(0,))


def test_operands_follow_their_tiles_or_not() -> None:
    index = np.array([[0, 0], [0, 3], [4, 0], [4, 3]])
    sizes = [[4, 3], [4, 3], [4, 3], [4, 3]]
    assert boxes.affine(tiles([5, 8, 45, 48], sizes, [10, 1]), index).start == 5
    with pytest.raises(operands.Ungrouped):
        boxes.affine(tiles([5, 8, 45, 49], sizes, [10, 1]), index)


# Moves


def test_a_block_is_followed_through_a_move() -> None:
    """Rows 1..2, columns 2..4 of a dense 4 x 6 tile, which came from rows of 100 bytes."""
    near, far = tiles([1000], [[4, 6]], [6, 1]), tiles([0], [[4, 6]], [100, 1])
    found = operands.through(tiles([1008], [[2, 3]], [6, 1]), near, far)
    assert (found.start.tolist(), found.strides.tolist()) == ([102], [[100, 1]])


def test_dimensions_that_a_move_keeps_dense_are_one() -> None:
    near, far = tiles([0], [[4, 6]], [6, 1]), tiles([50], [[4, 6]], [6, 1])
    found = operands.through(tiles([3], [[20]], [1]), near, far)
    assert (found.start.tolist(), found.strides.tolist()) == ([53], [[1]])


@pytest.mark.parametrize(
    ("start", "size", "stride"), [(0, 20, 1), (23, 2, 1), (4, 3, 1), (0, 3, 5)]
)
def test_blocks_that_a_move_tears(start: int, size: int, stride: int) -> None:
    near, far = tiles([0], [[4, 6]], [6, 1]), tiles([0], [[4, 6]], [100, 1])
    with pytest.raises(operands.Ungrouped):
        operands.through(tiles([start], [[size]], [stride]), near, far)


# Writers


def test_last_writers_equal_a_byte_by_byte_search() -> None:
    rng = np.random.default_rng(0)
    for _ in range(200):
        starts = rng.integers(0, 40, 16)
        stops, times = starts + rng.integers(1, 12, 16), rng.permutation(16)
        reads, writes = (
            writers.Touched(starts[s], stops[s], times[s]) for s in (slice(0, 6), slice(6, 16))
        )
        expected = [
            {writer_at(byte, time, writes) for byte in range(low, high)}
            for low, high, time in zip(*reads, strict=True)
        ]
        if any(len(found) > 1 for found in expected):
            with pytest.raises(operands.Ungrouped):
                writers.last_writers(reads, writes)
        else:
            assert writers.last_writers(reads, writes).tolist() == [f.pop() for f in expected]


def writer_at(byte: int, time: int, writes: writers.Touched) -> int:
    rows = enumerate(zip(*writes, strict=True))
    found = [(t, i) for i, (low, high, t) in rows if low <= byte < high and t < time]
    return max(found, default=(0, writers.OUTSIDE))[1]


# Exact sums


@pytest.mark.parametrize("peak", [128, 255, 1 << 15])
@pytest.mark.parametrize("terms", [1, 63, 520, 4608])
def test_no_partial_sum_of_the_worst_operands_loses_a_bit(terms: int, peak: int) -> None:
    """All weights 127 and all inputs at the peak, whose sums random values never reach."""
    for order in ("last", "first"):
        f = made(np.full((1, 3, terms, 1, 1), 127), peak, order=order)
        exact = numerics.EXACT_F32 if f.kind == np.float32 else numerics.EXACT_F64
        covered = [i for s in f.slices for i in range(s.start, s.stop)]
        assert covered == list(range(terms))
        assert all(127 * peak * (s.stop - s.start) < exact for s in f.slices)


def test_sums_with_their_bias_are_not_taken_for_exact() -> None:
    w = np.full((1, 1, 2, 1, 1), 127)
    assert made(w, 255).real_bias is not None
    assert made(w, 255, bias=1 << 24).real_bias is None


def made(w: Any, peak: int, bias: int = 0, order: str = "last") -> factors.Factors:
    channels = w.shape[0] * w.shape[1]
    return factors.factors(w.astype(np.int32), np.full(channels, bias, np.int32), peak, order)


def test_slices_as_products_equal_int64() -> None:
    rng = np.random.default_rng(1)
    w = rng.choice([-127, 127], (1, 4, 3000, 1, 1))
    x = rng.choice([0, 255], (7, 3000))
    f = made(w, 255)
    assert len(f.slices) > 1
    columns = x.astype(f.kind)
    parts = [(columns[:, s], m) for s, m in zip(f.slices, f.matrices, strict=True)]
    got = convolution.product(parts, (7, 4), machine.Buffers())
    np.testing.assert_array_equal(got, x @ w[0, :, :, 0, 0].T)


# Tables


@pytest.mark.parametrize(("values", "code"), [([0, 255], U8), ([-128, 127], S8)])
def test_wide_operands_that_hold_bytes(values: list[int], code: int) -> None:
    wide = np.array(values, np.int16)[:, None].repeat(3, 1)[::-1, ::2]
    assert lookup.byte_code(wide) == code
    np.testing.assert_array_equal(lookup.low_byte(wide).view(core.DTYPES[code]), wide)


def test_operands_that_hold_no_bytes() -> None:
    assert lookup.byte_code(np.array([-1, 128], np.int16)) is None


def test_pairs_equal_the_instruction() -> None:
    item = elementwise.Elementwise(
        a=0, b=0, out=0, op=vector.QADD, a_dtype=U8, b_dtype=S8, scale_a=0.3, scale_b=0.7,
        offset=-3.2, zero_a=7, zero_b=-4, zero=2,
    )  # fmt: skip
    a, b = np.arange(256, dtype=np.uint8), np.arange(-128, 128, dtype=np.int8)
    table = lookup.Pairs(item).table(U8, S8, np.dtype(np.int8))
    index = a[:, None].astype(int) * 256 + b[None].view(np.uint8)
    expected = item.result(a[:, None], b[None], np.dtype(np.int8))
    np.testing.assert_array_equal(table.take(index), expected)


# Programs


def copies(build: Any, symbol: Any, rows: list[Any], nodes: list[int]) -> images.Image:
    """Instructions of several nests on x at 0 and y at 256, 16 bytes each."""
    names = [symbol("x", "input", "int8", (1, 16), 0), symbol("y", "output", "int8", (1, 16), 256)]
    found: images.Image = build.image(rows, names)
    steps = np.zeros(len(nodes) + 1, np.int32)
    node_of = np.array([*nodes, -1], np.int32)
    return replace(found, debug=images.Debug(("a", "b"), ("step",), node_of, steps))


def moved(build: Any) -> list[Any]:
    """x to y in two halves, through one place each."""
    halves = []
    for at in (0, 8):
        halves += [
            build.load(at, at, 8),
            build.copy(at, 64 + at, 8, after_load0=1),
            build.store(64 + at, 256 + at, 8, after_vector=1),
        ]
    return halves


FEEDS = {"x": np.arange(16, dtype=np.int8)[None]}


def test_a_nest_is_one_instruction(build: Any, symbol: Any) -> None:
    session = load(copies(build, symbol, moved(build), [0] * 6))
    assert session.plan is not None
    assert [len(piece.merged) for piece in session.plan.pieces] == [1, 0]
    (y,) = session.run(None, FEEDS, grouped=True)
    assert session._grouped and (y == FEEDS["x"]).all()


def test_without_a_debug_map_there_are_no_groups(build: Any, symbol: Any) -> None:
    image = replace(copies(build, symbol, moved(build), [0] * 6), debug=None)
    session = load(image)
    assert (session.run(None, FEEDS, grouped=True)[0] == FEEDS["x"]).all()
    assert not session._grouped


def test_a_tile_that_a_later_nest_reads_is_not_left_out(build: Any, symbol: Any) -> None:
    """The second nest stores the first one's copy, which the first has stored, too."""
    rows = [*moved(build), build.store(64, 256, 16, after_vector=1)]
    session = load(copies(build, symbol, rows, [0] * 6 + [1]))
    assert session.plan is not None
    assert [len(piece.merged) for piece in session.plan.pieces] == [2, 0, 0]
    (y,) = session.run(None, FEEDS, grouped=True)
    assert session._grouped and (y == FEEDS["x"]).all()


def test_a_tile_that_is_written_over_before_a_later_nest_reads_it(build: Any, symbol: Any) -> None:
    """The second nest stores what the second half of the first one left in its only slot."""
    rows = moved(build)
    rows[4:] = [build.copy(8, 64, 8, after_load0=1), build.store(64, 264, 8, after_vector=1)]
    session = load(copies(build, symbol, [*rows, build.store(64, 256, 8)], [0] * 6 + [1]))
    assert session.plan is None
    (y,) = session.run(None, FEEDS, grouped=True)
    assert y.tolist() == [[*range(8, 16), *range(8, 16)]]


def test_a_nest_that_reads_what_it_writes_stays(build: Any, symbol: Any) -> None:
    """y's first half goes into its second half: not a copy of x as a whole."""
    rows = [
        build.load(0, 0, 8),
        build.copy(0, 64, 8, after_load0=1),
        build.store(64, 256, 8, after_vector=1),
        build.load(256, 8, 8, after_store0=1),
        build.copy(8, 72, 8, after_load0=1),
        build.store(72, 264, 8, after_vector=1),
    ]
    session = load(copies(build, symbol, rows, [0] * 6))
    assert session.plan is None or not session.plan.pieces[0].merged
    (y,) = session.run(None, FEEDS, grouped=True)
    assert y.tolist() == [[*range(8), *range(8)]]


def test_scales_that_are_no_finite_numbers_saturate_as_one_by_one() -> None:
    psum = np.array([[-700, -3, 0, 5, 900]] * 4, np.int32).T
    for scale in ([0.5, 0.25, 1.0, -2.0], [np.nan, np.inf, -np.inf, 0.5]):
        scales, real = np.array(scale, np.float32), psum.astype(np.float32)
        with np.errstate(all="ignore"):
            convolution.scale_in_place(real, scales, 3, (-128, 127))
        expected = numerics.requantize(psum, scales, 3, -128, 127, np.dtype("i1"))
        np.testing.assert_array_equal(real.astype(np.int8), expected)


# Maps in part


def in_part(build: Any, stored: bool) -> list[Any]:
    """x to y by way of a map of which the first half stays at 32; it may be stored at 512, too."""
    first = [build.load(0, 0, 8), build.copy(0, 32, 8, after_load0=1)]
    if stored:
        first += [build.store(32, 512, 8, after_vector=1)]
    return [
        *first,
        build.load(8, 8, 8),
        build.copy(8, 64, 8, after_load0=1),
        build.store(64, 520, 8, after_vector=1),
        build.copy(32, 96, 8),
        build.store(96, 256, 8, after_vector=1),
        build.load(520, 16, 8, after_store0=1),
        build.copy(16, 104, 8, after_load0=1),
        build.store(104, 264, 8, after_vector=1),
    ]


@pytest.mark.parametrize("stored", [False, True])
def test_tiles_on_chip_and_tiles_in_dram_are_merged_each(
    build: Any, symbol: Any, stored: bool
) -> None:
    nodes = [0] * (5 + stored) + [1] * 5
    image = copies(build, symbol, in_part(build, stored), nodes)
    assert image.debug is not None
    steps = np.arange(len(nodes) + 1, dtype=np.int32) == (2 if stored else -1)
    debug = replace(image.debug, steps=("step", "store map"), step_of=steps.astype(np.int32))
    session = load(replace(image, debug=debug))
    assert session.plan is not None
    names = [type(i).__name__ for piece in session.plan.pieces for i in piece.merged]
    assert names.count("Single") == 3  # one of a whole that copies put together
    assert "Copy" in names
    (y,) = session.run(None, FEEDS, grouped=True)
    assert session._grouped and (y == FEEDS["x"]).all()


def test_a_whole_is_put_together_of_what_lies_apart() -> None:
    """Rows 0..3 of 6 bytes in memory 1, the others in DRAM, in rows of 10."""
    blocks = tiles([100, 40], [[4, 6], [2, 6]], [6, 1])
    blocks = replace(
        blocks,
        memory=np.array([1, 0]),
        strides=np.array([[6, 1], [10, 1]]),
        start=np.array([100, 40]),
    )
    found = gathering.parts(blocks, np.array([[0, 0], [4, 0]]))
    assert [(p.block.memory, p.sizes, p.at) for p in found] == [
        (0, (2, 6), (4, 0)),
        (1, (4, 6), (0, 0)),
    ]


def test_what_is_in_two_places_is_not_taken_for_one() -> None:
    blocks = replace(tiles([100, 40], [[4, 6], [3, 6]], [6, 1]), memory=np.array([1, 0]))
    with pytest.raises(operands.Ungrouped, match="two places"):
        gathering.parts(blocks, np.array([[0, 0], [3, 0]]))
