"""Instructions are found where a plain loop finds them."""

import numpy as np
import pytest

from dnncc.isa import starts


@pytest.mark.parametrize("seed", range(40))
def test_many_walks_find_what_one_finds(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(seed)
    count = int(rng.integers(1, 3000))
    length = rng.integers(1, 1 + rng.integers(1, 13), count, np.uint8)
    expected = starts.one_by_one(length)
    monkeypatch.setattr(starts, "LONG", 0)
    monkeypatch.setattr(starts, "STRETCH", int(rng.integers(13, 100)))
    monkeypatch.delattr(starts, "one_by_one")
    monkeypatch.setattr(starts, "ROUNDS", count)
    np.testing.assert_array_equal(starts.reached(length), expected)


def test_walks_that_never_meet_are_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    length = np.full(1000, 7, np.uint8)
    monkeypatch.setattr(starts, "LONG", 0)
    monkeypatch.setattr(starts, "STRETCH", 30)
    with monkeypatch.context() as patched:
        patched.setattr(starts, "one_by_one", lambda length: length[:1])
        assert len(starts.reached(length)) == 1
    monkeypatch.setattr(starts, "ROUNDS", 100)
    assert starts.reached(length).tolist() == list(range(0, 1000, 7))
