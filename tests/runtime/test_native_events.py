"""Machine code finds the times that targets/events.py does, or says nothing."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import dnncc
from dnncc import targets
from dnncc.isa import core
from dnncc.isa import program as programs
from dnncc.runtime import loading, periods, timing
from dnncc.runtime.native import cache, code, events
from dnncc.runtime.orders import obey
from dnncc.runtime.periods import times_of
from dnncc.targets.events import Stuck, played
from dnncc.targets.orders import Orders, Times
from tests.benchmarks.test_speed import counted
from tests.models import ROOT

RESNET8 = ROOT / "examples" / "resnet8" / "model.onnx"
ENGINES = len(core.ENGINES)
needs_compiler = pytest.mark.skipif(
    not any(map(shutil.which, code.COMPILERS)), reason="there is no C compiler"
)


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and code even for short programs."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("DNNCC_CACHE")
    monkeypatch.setattr(periods, "LONG", 0)
    monkeypatch.setattr(code, "BUILDING", 0)
    return cache.folder()


def program(seed: int, count: int = 400) -> Orders:
    """Instructions of all kinds: control, transfers, and what DMA engines do without DRAM."""
    rng = np.random.default_rng(seed)
    here, none = np.arange(count), np.full(count, -1)
    engine = rng.integers(-1 if rng.random() < 0.5 else 0, ENGINES, count)
    moving = (engine >= 0) & (engine < 4) & (rng.random(count) < 0.8)
    cycles = rng.integers(1, 30, count)
    waited = np.full((count, ENGINES), -1)
    slot, behind, depth = none.copy(), none.copy(), int(rng.integers(1, 12))
    for e in range(ENGINES):
        queue, before = np.flatnonzero(engine == e), here - rng.integers(1, 20, count)
        if not len(queue):
            continue
        at = np.searchsorted(queue, before) - 1
        waited[:, e] = np.where((at >= 0) & (rng.random(count) < 0.3), queue[at], -1)
        slot[queue[depth:]] = queue[:-depth]
        moves = queue[moving[queue]]
        behind[moves[2:]] = moves[:-2]
    return Orders(
        engine=engine,
        waited=waited,
        slot=slot,
        fetch=rng.integers(0, 4, count),
        channel=np.where(moving, rng.integers(0, 3, count), -1),
        latency=np.where(moving, rng.integers(0, 50, ENGINES)[engine], 0),
        held=np.where(moving, rng.integers(1, 30, count), 0),
        behind=behind,
        ahead=np.where(behind >= 0, cycles[behind] // 2, 0),
        cycles=cycles,
        overlap=np.where(engine >= 4, np.minimum(rng.integers(0, 5, count), cycles), 0),
    )


def equal(a: Times, b: Times) -> bool:
    return all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


@needs_compiler
def test_random_programs() -> None:
    for seed in range(200):
        orders = program(seed)
        found = events.played(orders)
        assert found is not None and equal(found, played(orders)), seed
        assert obey(orders, found), seed


WIDE = [name for name in targets.names() if targets.load(name).datapath.accumulator_bits >= 32]


@needs_compiler
@pytest.mark.parametrize("target", WIDE)
def test_compiled_programs(target: str, monkeypatch: pytest.MonkeyPatch) -> None:
    orders = orders_of(RESNET8, target, monkeypatch)
    found = events.played(orders)
    assert found is not None and equal(found, played(orders))


def orders_of(model: Path, target: str, monkeypatch: pytest.MonkeyPatch) -> Orders:
    asked: list[Orders] = []

    def asking(orders: Orders) -> Times:
        asked.append(orders)
        return played(orders)

    monkeypatch.setattr(timing, "times_of", asking)
    image = dnncc.compile(model, target).image
    timing.simulate(programs.Program.decode(image.text), loading.target_of(image))
    return asked[0]


@needs_compiler
@pytest.mark.parametrize("seed", range(10))
def test_what_is_stuck_is_told_by_the_loop_in_python(seed: int) -> None:
    orders = program(seed)
    stuck = orders.waited.copy()
    stuck[200, 5] = int(np.flatnonzero(orders.engine == 5)[-1])
    stuck[int(np.flatnonzero(orders.engine == 5)[-1])] = 200
    orders = orders._replace(waited=stuck)
    assert events.played(orders) is None
    with pytest.raises(Stuck) as one:
        played(orders)
    with pytest.raises(Stuck) as other:
        times_of(orders)
    assert str(one.value) == str(other.value)


def forbid(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    def called(*_: object) -> Any:
        raise AssertionError(f"{name} was called")

    monkeypatch.setattr(code, name, called)


@needs_compiler
def test_it_is_built_once(monkeypatch: pytest.MonkeyPatch) -> None:
    first = times_of(program(1))
    forbid(monkeypatch, "compiled")
    assert equal(times_of(program(1)), first)


@needs_compiler
def test_no_call_is_made_for_an_instruction() -> None:
    few, many = program(1), program(2, 40_000)
    times_of(few)
    assert counted(lambda: times_of(many)) <= counted(lambda: times_of(few)) + 50


def test_it_is_not_built_for_short_programs(monkeypatch: pytest.MonkeyPatch, place: Path) -> None:
    monkeypatch.setattr(code, "BUILDING", 401)
    forbid(monkeypatch, "compiled")
    assert events.played(program(1)) is None
    assert not list(place.iterdir())


@needs_compiler
def test_code_that_is_wrong_is_not_used(monkeypatch: pytest.MonkeyPatch, place: Path) -> None:
    monkeypatch.setattr(events, "obey", lambda orders, times: False)
    assert events.played(program(1)) is None
    assert [path.suffix for path in place.iterdir()] == [".json"]
    monkeypatch.undo()
    monkeypatch.setenv("XDG_CACHE_HOME", str(place.parents[1]))
    monkeypatch.delenv("DNNCC_CACHE")
    forbid(monkeypatch, "compiled")
    assert events.played(program(1)) is None


def test_without_a_compiler_or_a_cache_it_is_played_in_python(
    monkeypatch: pytest.MonkeyPatch, place: Path
) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    orders = program(1)
    assert equal(times_of(orders), played(orders)) and not list(place.iterdir())
    monkeypatch.undo()
    monkeypatch.setenv("DNNCC_CACHE", "off")
    forbid(monkeypatch, "loaded")
    assert events.played(orders) is None
