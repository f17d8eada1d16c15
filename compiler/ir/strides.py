"""Strides, in elements: of dense tensors, and of the same elements under another shape."""

from collections.abc import Sequence
from itertools import accumulate
from math import prod
from operator import mul

Strides = tuple[int, ...]


def dense(shape: Sequence[int]) -> Strides:
    """Row-major, the last axis fastest."""
    products = accumulate(reversed(shape[1:]), mul, initial=1)
    return tuple(products)[::-1] if shape else ()


def is_dense(shape: Sequence[int], strides: Strides) -> bool:
    """Some order of the axes is row-major: every element of the storage is in it once."""
    expected = 1
    for stride, size in sorted((s, n) for s, n in zip(strides, shape, strict=True) if n != 1):
        if stride != expected:
            return False
        expected *= size
    return True


def is_row_major(shape: Sequence[int], strides: Strides) -> bool:
    wanted = zip(shape, strides, dense(shape), strict=True)
    return all(n == 1 or s == d for n, s, d in wanted)


def reshape_strides(shape: Sequence[int], strides: Strides, new: Sequence[int]) -> Strides | None:
    """Strides under which `new` names the same elements in the same order, if there are any.

    Both shapes split into the same runs of axes; within a run the old axes must follow each other.
    """
    old = [(n, s) for n, s in zip(shape, strides, strict=True) if n != 1]
    result: list[int] = []
    for size, sizes in runs([n for n, _ in old], new):
        axes, old = old[:size], old[size:]
        if any(a[1] != b[0] * b[1] for a, b in zip(axes, axes[1:], strict=False)):
            return None
        step = axes[-1][1] if axes else 1
        result += [stride * step for stride in dense(sizes)]
    return tuple(result)


def runs(old: Sequence[int], new: Sequence[int]) -> list[tuple[int, Sequence[int]]]:
    """The shortest runs of equal product: how many axes of `old`, and which sizes of `new`.

    `old` has no axes of size 1; those of `new` join the run before them.
    """
    found: list[tuple[int, Sequence[int]]] = []
    taken = at = 0
    while at < len(new):
        count, stop = 0, at + 1
        while (have := prod(old[taken : taken + count])) != (want := prod(new[at:stop])):
            count, stop = (count + 1, stop) if have < want else (count, stop + 1)
        while stop < len(new) and new[stop] == 1:
            stop += 1
        found.append((count, new[at:stop]))
        taken, at = taken + count, stop
    return found
