"""Ranges of bytes: their union, and which others it meets."""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


def union(start: Ints, stop: Ints) -> Iterator[tuple[int, int]]:
    """Ranges that cover the same bytes and do not meet."""
    lows, highs = joined(start, stop)
    yield from zip(lows.tolist(), highs.tolist(), strict=True)


def joined(start: Ints, stop: Ints) -> tuple[Ints, Ints]:
    """The same as columns, ascending."""
    if not len(start):
        return start, stop
    order = np.argsort(start, kind="stable")
    start, reach = start[order], np.maximum.accumulate(stop[order])
    cuts = np.flatnonzero(start[1:] > reach[:-1]) + 1
    return start[np.concatenate(([0], cuts))], reach[np.concatenate((cuts - 1, [-1]))]


def met(start: Ints, stop: Ints, others: tuple[Ints, Ints]) -> Bools:
    """Which of these ranges share a byte with one of `others`, start and stop."""
    lows, highs = joined(*others)
    if not len(lows):
        return np.zeros(len(start), bool)
    at = np.searchsorted(highs, start, "right")
    return (at < len(lows)) & (lows[np.minimum(at, len(lows) - 1)] < stop)
