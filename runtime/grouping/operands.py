"""Operands of many instructions at once: where their blocks lie, and what a move makes of them."""

from collections.abc import Mapping
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from msgspec import Struct

from dnncc.isa import core, dma, elementwise, pool, tensor, vector

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

PSUM, FLOAT = tensor.PSUM, pool.FLOAT


class Ungrouped(Exception):
    """Instructions that stay as they are; the text is why, for those who look into it."""


def require(condition: Any, reason: str) -> None:
    if not np.all(condition):
        raise Ungrouped(reason)


class Operand(Struct, frozen=True, eq=False):
    """A strided block per row: memory, first byte and element type int64[n], sizes and strides, in
    elements, int64[n, dims]."""

    memory: Ints
    start: Ints
    sizes: Ints
    strides: Ints
    code: Ints

    @classmethod
    def at(cls, count: int, place: Any, sizes: Any, strides: Any, code: Any) -> Self:
        """From fields that are arrays or numbers; `place` is (memory, first byte)."""
        memory, start, code = (column(v, count) for v in (*place, code))
        table = [np.stack([column(v, count) for v in row], axis=1) for row in (sizes, strides)]
        return cls(memory, start, table[0], table[1], code)

    def __len__(self) -> int:
        return len(self.start)

    @property
    def element(self) -> Ints:
        return np.asarray(core.SIZES[self.code])

    @property
    def stop(self) -> Ints:
        last = ((self.sizes - 1) * self.strides).sum(axis=1)
        return np.asarray(self.start + (last + 1) * self.element)

    def take(self, rows: Any) -> Self:
        return type(self)(*(c[rows] for c in self.columns()))

    def with_rows(self, rows: Ints, others: Self) -> Self:
        """With other blocks in those rows."""
        found = [c.copy() for c in self.columns()]
        for column, other in zip(found, others.columns(), strict=True):
            column[rows] = other
        return type(self)(*found)

    def columns(self) -> tuple[Ints, Ints, Ints, Ints, Ints]:
        return self.memory, self.start, self.sizes, self.strides, self.code


def column(value: Any, count: int) -> Ints:
    return np.broadcast_to(np.asarray(value, np.int64), (count,))


def operands(item: Any, count: int) -> dict[str, Operand]:
    """All that instructions of a class touch, by the name of the field with the address."""
    made = {name: Operand.at(count, *where) for name, where in places(item).items()}
    return {name: operand for name, operand in made.items() if np.any(operand.memory)} | {
        name: operand for name, operand in made.items() if name == "dram"
    }


def places(item: Any) -> Mapping[str, tuple[Any, ...]]:
    """Per operand its place, sizes, strides and element type."""
    at = core.split_address
    if isinstance(item, (dma.Load, dma.Store)):
        inside = item.framed() if isinstance(item, dma.Load) else item.sizes()
        return {
            "spad": (at(item.spad), inside, item.spad_strides(), item.spad_dtype),
            "dram": ((0, item.dram), item.sizes(), item.dram_strides(), item.dram_dtype),
        }
    if isinstance(item, tensor.Tensor):
        return {
            "ifmap": (at(item.ifmap), *item.ifmap_layout(), item.ifmap_dtype),
            "weight": (at(item.weight), *item.weight_layout(), item.weight_dtype),
            "psum": (at(item.psum), *item.psum_layout(), PSUM),
            "zeros": (at(item.zeros), (item.g, item.k), (item.k, 1), tensor.ZEROS),
        }
    if isinstance(item, pool.Pool):
        return {
            "x": (at(item.x), *item.x_layout(), item.x_dtype),
            "out": (at(item.out), *item.out_layout(), item.out_dtype),
        }
    return vector_places(item)


def vector_places(item: Any) -> Mapping[str, tuple[Any, ...]]:
    at = core.split_address
    if isinstance(item, vector.Requantize):
        return from_psums(item)
    if isinstance(item, vector.Residual):
        side = at(item.side), item.sizes(), item.side_strides(), item.side_dtype
        return {**from_psums(item), "side": side}
    if not isinstance(item, (elementwise.Elementwise, elementwise.Map)):
        raise Ungrouped(f"{item.mnemonic} is executed one by one")
    names = ("a", "b", "out") if isinstance(item, elementwise.Elementwise) else ("x", "out")
    found: dict[str, tuple[Any, ...]] = {}
    for name in names:
        code = getattr(item, f"{name}_dtype")
        found[name] = (at(getattr(item, name)), item.sizes(), item.strides(name), code)
    if isinstance(item, elementwise.Map):
        entries = (elementwise.TABLE_ENTRIES,)
        found["table"] = (at(item.table), entries, (1,), item.out_dtype)
    return found


def from_psums(item: vector.Requantize | vector.Residual) -> Mapping[str, tuple[Any, ...]]:
    at = core.split_address
    words = np.asarray([vector.PARAM_WORDS[m] for m in sorted(vector.PARAMS)])[item.mode]
    return {
        "psum": (at(item.psum), item.sizes(), item.psum_strides(), PSUM),
        "params": (at(item.params), (item.k, words), (words, 1), PSUM),
        "out": (at(item.out), *results(item), item.out_dtype),
        "table": (at(item.table), (elementwise.TABLE_ENTRIES,), (1,), item.out_dtype),
    }


def results(item: vector.Requantize | vector.Residual) -> tuple[Any, Any]:
    """Sizes and strides of results; with an axis of groups where these are apart. A store has no
    axis for one image then."""
    if isinstance(item, vector.Residual):
        return item.sizes(), item.out_strides()
    of_image, *strides = item.out_strides()
    if np.any(item.out_sg):
        return item.out_sizes(), (np.where(item.n == 1, 0, of_image), *strides)
    return item.sizes(), (of_image, *strides[1:])


def through(block: Operand, near: Operand, far: Operand) -> Operand:
    """Blocks on the near side of moves, as they are on the far side; rows correspond.

    The two sides have the same elements under the same indices. Raises Ungrouped where a block is
    not all on the near side, or is no strided block on the far one.
    """
    require(block.memory == near.memory, "another memory")
    require(block.element == near.element, "elements of another size")
    first, rest = np.divmod(block.start - near.start, block.element)
    require((rest == 0) & (first >= 0), "between elements")
    sizes, inner, outer = folded(*by_stride(near.sizes, near.strides, far.strides))
    index, rest = indices(first, sizes, inner)
    require(rest == 0, "between rows")
    strides, used = mapped(block, sizes, inner, outer)
    require(index + used < sizes, "beyond the block that was moved")
    start = far.start + (index * outer).sum(axis=1) * far.element
    return Operand(far.memory, start, block.sizes, strides, far.code)


def by_stride(sizes: Ints, near: Ints, far: Ints) -> tuple[Ints, Ints, Ints]:
    """Dimensions in order of the near stride, the widest first."""
    order = np.argsort(-near, axis=1, kind="stable")
    a, b, c = (np.take_along_axis(v, order, axis=1) for v in (sizes, near, far))
    return a, b, c


def folded(sizes: Ints, near: Ints, far: Ints) -> tuple[Ints, Ints, Ints]:
    """With every dimension that goes on where another ends, on both sides, made part of that."""
    sizes = sizes.copy()
    for t in reversed(range(sizes.shape[1])):
        for d in reversed(range(t)):
            ends = (near[:, d] == sizes[:, t] * near[:, t]) & (far[:, d] == sizes[:, t] * far[:, t])
            joined = ends & (sizes[:, d] > 1) & (sizes[:, t] > 1)
            sizes[:, t] *= np.where(joined, sizes[:, d], 1)
            sizes[:, d] = np.where(joined, 1, sizes[:, d])
    return sizes, near, far


def indices(first: Ints, sizes: Ints, near: Ints) -> tuple[Ints, Ints]:
    """The index of element number `first`, and what no index explains."""
    index, rest = np.zeros_like(sizes), first.copy()
    for d in range(sizes.shape[1]):
        real = (sizes[:, d] > 1) & (near[:, d] > 0)
        index[:, d] = np.where(real, rest // np.maximum(near[:, d], 1), 0)
        rest = rest - index[:, d] * near[:, d]
    return index, rest


def mapped(block: Operand, sizes: Ints, near: Ints, far: Ints) -> tuple[Ints, Ints]:
    """Far strides of the block's dimensions, and how far they reach along those of the move."""
    strides, used = np.zeros_like(block.strides), np.zeros_like(sizes)
    taken, rows = np.zeros(sizes.shape, bool), np.arange(len(sizes))
    for j in range(block.sizes.shape[1]):
        size, stride = block.sizes[:, j], block.strides[:, j]
        which, steps = carrier(size, stride, np.where(taken, 0, sizes), near)
        known = which >= 0
        require(known | (size == 1) | (stride == 0), "a stride that the move does not have")
        strides[:, j] = np.where(known, steps * far[rows, which], 0)
        used[rows, which] += np.where(known, steps * (size - 1), 0)
        taken[rows, which] |= known & (size == 1) & (sizes[rows, which] == 1)
    return strides, used


def carrier(size: Ints, stride: Ints, sizes: Ints, near: Ints) -> tuple[Ints, Ints]:
    """Which dimension of a move carries one of a block, -1 for none, in steps of how many.

    The widest whose stride divides the block's. Of a block's dimension of one index the stride says
    little: there one of the same stride is taken, better if that is of one index as well. A size of
    0 is of a dimension that has been taken.
    """
    which, steps = np.full_like(size, -1), np.zeros_like(size)
    best = np.zeros_like(size)
    for d in range(sizes.shape[1]):
        step = near[:, d]
        divides = (step > 0) & (stride % np.maximum(step, 1) == 0) & (step <= stride)
        single = (sizes[:, d] == 1) & (size == 1) & (stride == step)
        score = np.where(single, 2 * stride + 1, 2 * step)
        better = divides & ((sizes[:, d] > 1) | single) & (score > best)
        which, best = np.where(better, d, which), np.where(better, score, best)
        steps = np.where(better, stride // np.maximum(step, 1), steps)
    return which, steps
