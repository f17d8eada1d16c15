"""Machine code knows of order what NumPy does, finds the same candidates for races, and the same
reads of what one write made."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dnncc.isa import program as programs
from dnncc.runtime import accesses, clocks, handovers, hazards
from dnncc.runtime.native import cache, code
from dnncc.runtime.native import clocks as native_clocks
from dnncc.runtime.native import handovers as native_handovers
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
    return np.array_equal(one.engine, other.engine) and np.array_equal(one.known, other.known)


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
        engine = rng.integers(-1, clocks.ENGINES, 200, np.int8)
        waits = rng.integers(0, 60, (200, clocks.ENGINES), np.int32)
        waits *= rng.random((200, 1)) < 0.3
        drains = rng.random(200) < 0.02
        slow = clocks.vectorised(engine, waits, drains)
        found = native_clocks.found(engine, waits, drains)
        assert found is not None and np.array_equal(found, slow)


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
    nothing = np.zeros(9, np.int8), np.zeros((9, clocks.ENGINES), np.int32), np.zeros(9, np.bool_)
    monkeypatch.setattr(native_clocks, "agrees", lambda *_: False)
    assert native_clocks.found(*nothing) is None
    monkeypatch.setattr(native_clocks, "agrees", lambda *_: True)
    assert native_clocks.found(*nothing) is None


def test_last_writes(build: Any, image: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    plain, odd = 0, 0
    for seed in range(30):
        rng = np.random.default_rng(seed)
        found = accesses.accesses(program(build, seed), image, {})
        some = found.take(np.sort(rng.choice(len(found), int(rng.integers(1, len(found))))))
        home = rng.integers(-2, 1 + rng.integers(0, 40), len(some), np.int32)
        monkeypatch.setattr(native_handovers, "ROOM", 1 << seed % 10)
        fast, slow = native_handovers.last_writes(some, home), handovers.last_writes(some, home)
        assert fast is not None and native_handovers.same(fast, slow), seed
        plain, odd = plain + len(slow[0]), odd + len(slow[1])
    assert plain > 20 and odd > 20


def test_what_machine_code_finds_is_what_is_taken(
    build: Any, image: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = accesses.accesses(program(build, 1), image, {})
    home, kinds = np.zeros(len(found), np.int32), handovers.Kinds(*np.zeros((2, 1), np.bool_))
    slow = handovers.handovers(found, home, kinds)
    monkeypatch.setattr(handovers, "LONG", 0)
    native_handovers.last_writes(found, home)  # what is new is compared
    monkeypatch.delattr(handovers, "last_writes")
    fast = handovers.handovers(found, home, kinds)
    assert {*fast.made.tolist()} == {*slow.made.tolist()}
    np.testing.assert_array_equal(fast.rest, slow.rest)
