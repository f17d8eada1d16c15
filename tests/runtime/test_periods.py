"""Programs that repeat themselves are timed as if they were played, instruction by instruction."""

import time
from typing import Any

import numpy as np
import pytest

from dnncc.runtime import periods
from dnncc.runtime.orders import obey
from dnncc.runtime.periods import repetitions, signatures, times_of, without
from dnncc.targets.events import played
from dnncc.targets.orders import Orders, Times

ENGINES = 6


def body(rng: Any, length: int) -> dict[str, Any]:
    """Instructions of one repetition; waits are as distances back, 0 for none."""
    engine = rng.integers(0, ENGINES, length)
    dma = engine < 4
    cycles = rng.integers(1, 30, length)
    return {
        "engine": engine,
        "fetch": rng.integers(1, 4, length),
        "channel": np.where(dma, engine % 2 if rng.random() < 0.5 else 0, -1),
        "latency": np.where(dma, 7 * engine, 0),  # the same for all transfers of an engine
        "held": np.where(dma, rng.integers(1, 30, length), 0),
        "cycles": cycles,
        "overlap": np.where(dma, 0, np.minimum(rng.integers(0, 5, length), cycles)),
        "waits": rng.integers(1, 2 * length + 1, length) * (rng.random(length) < 0.7),
    }


def program(rng: Any, parts: list[tuple[int, int]], depth: int = 8) -> Orders:
    """Bodies of (length, repetitions), one after the other."""
    made = [repeated(body(rng, length), count) for length, count in parts]
    columns = {k: np.concatenate([m[k] for m in made]) for k in made[0]}
    engine, here = columns["engine"], np.arange(len(columns["engine"]))
    other = here - columns.pop("waits")
    waited = np.full((len(here), ENGINES), -1)
    rows = np.flatnonzero((other >= 0) & (other < here))
    waited[rows, engine[other[rows]]] = other[rows]
    slot, behind = np.full(len(here), -1), np.full(len(here), -1)
    for e in range(ENGINES):
        queue = np.flatnonzero(engine == e)
        slot[queue[depth:]] = queue[:-depth]
        moves = queue[columns["channel"][queue] >= 0]
        behind[moves[2:]] = moves[:-2]
    ahead = np.where(behind >= 0, columns["cycles"][behind] // 2, 0)
    return Orders(waited=waited, slot=slot, behind=behind, ahead=ahead, **columns)


def repeated(columns: dict[str, Any], count: int) -> dict[str, Any]:
    return {k: np.tile(v, count) for k, v in columns.items()}


def equal(a: Times, b: Times) -> bool:
    return all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


@pytest.mark.parametrize("seed", range(40))
def test_repetitions_are_shifts(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(periods, "SHORT", 100)
    rng = np.random.default_rng(seed)
    parts = [(int(rng.integers(1, 12)), int(rng.integers(20, 300))) for _ in range(4)]
    orders = program(rng, parts, int(rng.integers(1, 12)))
    expected = played(orders)
    assert obey(orders, expected)
    assert equal(times_of(orders), expected)


@pytest.mark.parametrize("seed", range(10))
def test_times_that_are_off_do_not_obey(seed: int) -> None:
    rng = np.random.default_rng(seed)
    orders = program(rng, [(7, 30), (3, 30)])
    right = played(orders)
    for column in range(4):
        for by in (-1, 1):
            wrong = [t.copy() for t in right]
            wrong[column][rng.integers(len(orders.engine))] += by
            assert not obey(orders, Times(*wrong))


def test_nested_loops_are_left_out_from_the_inside() -> None:
    rng = np.random.default_rng(3)
    inner, outer = repeated(body(rng, 3), 120), body(rng, 5)
    columns = {k: np.tile(np.concatenate([inner[k], outer[k]]), 100) for k in inner}
    columns.pop("waits")
    none = np.full(len(columns["engine"]), -1)
    orders = Orders(
        waited=np.full((len(none), ENGINES), -1), slot=none, behind=none, ahead=none + 1, **columns
    )
    once = without(orders, repetitions(signatures(orders), 150))
    assert len(once.engine) < len(none) // 2
    assert repetitions(signatures(once), 150)
    assert equal(times_of(orders), played(orders))


def test_a_program_without_repetitions_is_played() -> None:
    orders = program(np.random.default_rng(1), [(30_000, 1)])
    assert not repetitions(signatures(orders), 150)
    assert equal(times_of(orders), played(orders))


def test_a_million_instructions_take_less_than_playing_a_tenth() -> None:
    rng = np.random.default_rng(5)
    long = program(rng, [(9, 40_000), (5, 80_000), (12, 20_000)])
    assert len(long.engine) == 1_000_000
    tenth = Orders(*(column[:100_000] for column in long))
    assert cpu_seconds(lambda: times_of(long)) < 4 * cpu_seconds(lambda: played(tenth))


def cpu_seconds(run: Any) -> float:
    start = time.process_time()
    run()
    return time.process_time() - start
