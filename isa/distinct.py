"""Different values of an array, and different rows."""

from typing import Any

import numpy as np
import numpy.typing as npt

Int64 = npt.NDArray[np.int64]

SPREAD = 0x9E3779B97F4A7C15
"""2^64 by the golden ratio: small differences between words do not cancel in sums."""


def distinct(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The different values, sorted, in one dimension.

    np.unique, asked for no more than this, loads numpy.ma: that takes longer than to run a small
    program.
    """
    ordered = np.sort(values, axis=None)
    new = np.ones(len(ordered), np.bool_)
    new[1:] = ordered[1:] != ordered[:-1]
    return ordered[new]


def alike(rows: npt.NDArray[np.uint64]) -> tuple[Int64, Int64]:
    """The first of each kind of row, and the kind of every row.

    Rows are compared by sums of their words, which are much quicker to sort; should two kinds have
    one sum, the rows themselves are sorted.
    """
    powers = np.cumprod(np.full(rows.shape[1], SPREAD, np.uint64))
    sums = (rows * powers).sum(axis=1)
    _, first, inverse = np.unique(sums, return_index=True, return_inverse=True)
    if not np.array_equal(rows, rows[first[inverse]]):
        _, first, inverse = np.unique(rows, axis=0, return_index=True, return_inverse=True)
    return first, inverse.reshape(-1)
