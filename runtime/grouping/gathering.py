"""Copies between blocks: of maps of which a part lies on chip and the rest in DRAM, a whole; and of
results that stay on chip, what is stored."""

import numpy as np
from msgspec import Struct

from dnncc.isa import core, dma, numerics
from dnncc.isa.distinct import distinct

from ..machine import Machine
from .boxes import Block, affine
from .operands import Ints, Operand, Ungrouped, require


class Copy(Struct, frozen=True):
    """What moves of tiles do together: values saturate to a type that does not hold them."""

    source: Block
    target: Block
    sizes: tuple[int, ...]

    mnemonic = "store"

    def execute(self, machine: Machine) -> None:
        source, target = (
            machine.view(b.memory, b.start, self.sizes, b.strides, b.code)
            for b in (self.source, self.target)
        )
        target[...] = numerics.saturate(source, core.DTYPES[self.target.code])


class Part(Struct, frozen=True, eq=False):
    """Tiles of an operand that lie in one memory: the block, its sizes, and the index in the whole
    at which it begins."""

    block: Block
    sizes: tuple[int, ...]
    at: tuple[int, ...]


def parts(tiles: Operand, first: Ints) -> list[Part]:
    """By memory. Raises Ungrouped where these are no blocks, or share an index: then two places
    hold the same value, or not."""
    found = []
    for memory in distinct(tiles.memory):
        rows = np.flatnonzero(tiles.memory == memory)
        some, low = tiles.take(rows), first[rows].min(axis=0)
        sizes = (first[rows] + some.sizes).max(axis=0) - low
        block = affine(some, first[rows] - low)
        found.append(Part(block, tuple(sizes.tolist()), tuple(low.tolist())))
    for number, part in enumerate(found):
        for other in found[:number]:
            require(apart(part, other), "tiles that share what is in two places")
    return found


def apart(one: Part, other: Part) -> bool:
    axes = zip(one.at, one.sizes, other.at, other.sizes, strict=True)
    return any(a + n <= b or b + m <= a for a, n, b, m in axes)


def common_code(found: list[Part]) -> int:
    """The type of one part that holds the values of all."""
    codes = [part.block.code for part in found]
    for code in codes:
        if all(dma.WIDENS[other, code] for other in codes):
            return code
    raise Ungrouped("types of which none holds the others")
