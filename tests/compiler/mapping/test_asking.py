"""Searches side by side end as each does alone."""

import numpy as np
import pytest

from dnncc import targets
from dnncc.mapping import asking
from dnncc.targets import dataflow

TARGETS = ("tpu-like", "eyeriss-like", "diannao-like", "shidiannao-like", "gemmini-like-os")
SIZES: tuple[list[int], ...] = ([], [5], [1, 9, 30], [], [], [2, 2], [64])


def cycles_of(sizes: list[int]) -> asking.Asking[list[int]]:
    """A question per size: of tiles of all smaller ones, too."""
    found = []
    for k in sizes:
        taps = 1 + 2 * (k % 2)
        ks = np.arange(1, k + 1)
        work = dataflow.Work.of(k=ks, c=3 + ks % 7, g=1 + k % 3, p=ks, q=8, r=taps, s=taps)
        found.append(int((yield work).cycles.sum()))
    return found


@pytest.mark.parametrize("name", TARGETS)
@pytest.mark.parametrize("at_once", [1, 3, 50])
def test_together_is_as_alone(name: str, at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "AT_ONCE", at_once)
    target = targets.load(name)
    expected = [asking.alone(cycles_of(sizes), target) for sizes in SIZES]
    assert asking.together(map(cycles_of, SIZES), target) == expected
    assert [len(e) for e in expected] == list(map(len, SIZES))


def test_what_one_raises_ends_all() -> None:
    def wrong() -> asking.Asking[list[int]]:
        yield from cycles_of([3])
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        asking.together([cycles_of([5, 6, 7]), wrong()], targets.load("tpu-like"))
