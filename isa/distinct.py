"""Different values of an array, and different rows."""

from collections.abc import Sequence
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
    first, kind = numbered(np.asarray(rows @ powers, np.uint64))
    if not np.array_equal(rows, rows[first[kind]]):
        _, first, kind = np.unique(rows, axis=0, return_index=True, return_inverse=True)
    return first, kind.reshape(-1)


def alike_in(columns: Sequence[npt.NDArray[Any]]) -> tuple[Int64, Int64]:
    """As `alike`, of rows of whole numbers that are given by their columns."""
    sums, power = np.zeros(len(columns[0]), np.uint64), 1
    for column in columns:
        power = power * SPREAD % 2**64
        sums += column.astype(np.uint64) * np.uint64(power)
    first, kind = numbered(sums)
    if all(np.array_equal(column, column[first][kind]) for column in columns):
        return first, kind
    return alike(np.column_stack([column.astype(np.uint64) for column in columns]))


def numbered(values: npt.NDArray[np.uint64]) -> tuple[Int64, Int64]:
    """Where each of the different values comes first, and the number of every value."""
    number = np.searchsorted(distinct(values), values)
    first = np.zeros(number.max(initial=-1) + 1, np.int64)
    first[number[::-1]] = np.arange(len(values))[::-1]  # of equal ones the last assignment stays
    return first, number
