"""Addresses for blocks of which some live at the same time."""

from collections.abc import Sequence

from msgspec import Struct


class Block(Struct, frozen=True):
    """`size` bytes, alive in steps first..last, both included."""

    name: str
    size: int
    first: int
    last: int


def pack(blocks: Sequence[Block], align: int) -> dict[str, int]:
    """Block name -> offset, multiples of `align`; the largest first, each as low as it can be."""
    placed: list[tuple[int, int, Block]] = []
    for block in sorted(blocks, key=lambda b: (-b.size, b.first, b.name)):
        rivals = [p for p in placed if p[2].first <= block.last and block.first <= p[2].last]
        start = lowest_gap(sorted(r[:2] for r in rivals), block.size, align)
        placed.append((start, start + block.size, block))
    return {block.name: start for start, _, block in placed}


def lowest_gap(taken: Sequence[tuple[int, int]], size: int, align: int) -> int:
    """The lowest aligned offset where `size` bytes touch none of the [start, stop) in `taken`."""
    offset = 0
    for start, stop in taken:
        if offset + size <= start:
            break
        offset = max(offset, -(-stop // align) * align)
    return offset


def extent(blocks: Sequence[Block], offsets: dict[str, int]) -> int:
    """Bytes that the packing takes."""
    return max((offsets[b.name] + b.size for b in blocks), default=0)


def lower_bound(blocks: Sequence[Block]) -> int:
    """No packing takes less: the most bytes alive in one step."""
    steps = {b.first for b in blocks}
    return max((sum(b.size for b in blocks if b.first <= s <= b.last) for s in steps), default=0)
