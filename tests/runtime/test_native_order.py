"""Machine code knows of order what NumPy does, and finds the same candidates for races."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dnncc.isa import program as programs
from dnncc.runtime import accesses, clocks, hazards
from dnncc.runtime.native import cache, code
from dnncc.runtime.native import clocks as native_clocks
from dnncc.runtime.native import hazards as native_hazards
from tests.runtime.test_hazards import image, random_rows

__all__ = ["image"]  # a fixture
pytestmark = pytest.mark.skipif(
    not any(map(shutil.which, code.COMPILERS)), reason="there is no C compiler"
)


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and code even for short programs."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("DNNCC_CACHE")
    monkeypatch.setattr(code, "BUILDING", 0)
    return cache.folder()


def program(build: Any, seed: int, count: int = 90) -> programs.Program:
    made: programs.Program = build.program(random_rows(build, np.random.default_rng(seed), count))
    return made


def agree(one: clocks.Clocks, other: clocks.Clocks) -> bool:
    names = ("engine", "number", "issued", "known")
    return all(np.array_equal(getattr(one, n), getattr(other, n)) for n in names)


def test_clocks(build: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for seed in range(60):
        random = program(build, seed)
        slow = clocks.Clocks.of(random)
        with monkeypatch.context() as patched:
            patched.setattr(clocks, "LONG", 0)
            patched.delattr(clocks, "vectorised")
            assert agree(clocks.Clocks.of(random), slow), seed


def test_clocks_of_waits_for_what_was_not_issued() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        engine = rng.integers(-1, clocks.ENGINES, 200)
        waits = rng.integers(0, 60, (200, clocks.ENGINES)) * (rng.random((200, 1)) < 0.3)
        drains = rng.random(200) < 0.02
        slow = clocks.vectorised(engine, waits, drains)
        found = native_clocks.found(engine, waits, drains)
        assert found is not None and agree(clocks.Clocks(engine, *found), slow)


def test_candidates_for_races(build: Any, image: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for seed in range(30):
        random = program(build, seed)
        found, order = accesses.accesses(random, image, {}), clocks.Clocks.of(random)
        slow = list(hazards.races(found, order))
        with monkeypatch.context() as patched:
            patched.setattr(hazards, "LONG", 0)
            patched.setattr(native_hazards, "ROOM", 1 + seed)
            patched.delattr(hazards, "row_pairs" if seed else "too_open")
            assert list(hazards.races(found, order)) == slow, seed


def test_as_many_are_compared(build: Any, image: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    random = program(build, 1)
    found, order = accesses.accesses(random, image, {}), clocks.Clocks.of(random)
    everything = int(hazards.windows(order).sum())
    for most in (0, 50, everything // 2, everything - 1, everything):
        monkeypatch.setattr(hazards, "MOST_PAIRS", most)
        pairs = native_hazards.candidates(found, order)
        assert pairs is not None
        assert native_hazards.same([pairs], hazards.candidates(found, order))


def test_code_whose_clocks_are_wrong_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    nothing = np.zeros(9, np.int64), np.zeros((9, clocks.ENGINES), np.int64), np.zeros(9, np.bool_)
    monkeypatch.setattr(native_clocks, "agrees", lambda *_: False)
    assert native_clocks.found(*nothing) is None
    monkeypatch.setattr(native_clocks, "agrees", lambda *_: True)
    assert native_clocks.found(*nothing) is None
