"""Blocks that live together never share a byte."""

from hypothesis import given, settings
from hypothesis import strategies as st

from dnncc.memory.arena import Block, extent, lower_bound, pack


@st.composite
def some_blocks(draw: st.DrawFn) -> list[Block]:
    count = draw(st.integers(0, 20))
    blocks = []
    for index in range(count):
        first = draw(st.integers(0, 12))
        last = first + draw(st.integers(0, 6))
        blocks.append(Block(f"b{index}", draw(st.integers(1, 500)), first, last))
    return blocks


@settings(max_examples=200, deadline=None, derandomize=True)
@given(some_blocks(), st.sampled_from([1, 16, 64]))
def test_blocks_that_live_together_are_apart(blocks: list[Block], align: int) -> None:
    offsets = pack(blocks, align)
    assert offsets.keys() == {b.name for b in blocks}
    assert all(offset % align == 0 for offset in offsets.values())
    for i, one in enumerate(blocks):
        for two in blocks[:i]:
            if one.first <= two.last and two.first <= one.last:
                a, b = offsets[one.name], offsets[two.name]
                assert a + one.size <= b or b + two.size <= a


@settings(max_examples=200, deadline=None, derandomize=True)
@given(some_blocks())
def test_no_packing_is_below_the_bound(blocks: list[Block]) -> None:
    taken = extent(blocks, pack(blocks, 1))
    alive = [sum(b.size for b in blocks if b.first <= s <= b.last) for s in range(20)]
    assert lower_bound(blocks) == max(alive)
    assert lower_bound(blocks) <= taken <= sum(b.size for b in blocks)


def test_storage_is_used_again() -> None:
    """A chain of three: the third takes the place of the first, which is dead."""
    blocks = [Block("a", 100, 0, 1), Block("b", 60, 1, 2), Block("c", 100, 2, 3)]
    assert pack(blocks, 4) == {"a": 0, "c": 0, "b": 100}
    assert extent(blocks, pack(blocks, 4)) == lower_bound(blocks) == 160
