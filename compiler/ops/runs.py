"""Results along an axis that are alike: equally spaced, of equally spaced elements of the input."""

from collections.abc import Sequence
from typing import NamedTuple

from msgspec import Struct

from .match import Refused

FARTHEST = 16
"""Results further apart are not looked at as one run."""

MOST = 128
"""Runs of a tensor; each is written to its place on its own."""


class Row(NamedTuple):
    """A result is the sum of `weights` times the elements from `source` on."""

    source: int
    weights: tuple[int, ...] = (1,)


class Run(Struct, frozen=True):
    """`count` results from `first` on, `step` apart, of the rows from `row` on, `stride` apart."""

    first: int
    step: int
    count: int
    row: Row
    stride: int

    @property
    def begin(self) -> int:
        return self.row.source

    @property
    def end(self) -> int:
        """Behind the last element that is read."""
        return self.begin + (self.count - 1) * self.stride + len(self.row.weights)


def runs(rows: Sequence[Row]) -> list[Run]:
    """All results in runs, the longest that begins at each that is left. Raises Refused."""
    left = dict.fromkeys(range(len(rows)))
    found: list[Run] = []
    while left:
        if len(found) == MOST:
            raise Refused(f"its indices are more than {MOST} runs")
        first = next(iter(left))
        tried = (run(rows, left, first, step) for step in range(1, FARTHEST + 1))
        best = max(tried, key=lambda r: r.count)
        found.append(best)
        for index in range(best.first, best.first + best.count * best.step, best.step):
            del left[index]
    return found


def run(rows: Sequence[Row], left: dict[int, None], first: int, step: int) -> Run:
    count, after = 1, first + step
    stride = rows[after].source - rows[first].source if after in left else 0
    while after in left and stride > 0 and continues(rows, first, count, after, stride):
        count, after = count + 1, after + step
    return Run(first, step, count, rows[first], stride if count > 1 else 1)


def continues(rows: Sequence[Row], first: int, count: int, after: int, stride: int) -> bool:
    row = rows[first]
    return rows[after] == (row.source + count * stride, row.weights)
