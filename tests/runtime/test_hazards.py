"""Races and unwritten bytes, against what plain sets of bytes and a plain graph of order say."""

from typing import Any

import numpy as np
import pytest

from dnncc.isa import core, dma, elementwise
from dnncc.isa import image as images
from dnncc.runtime import accesses, clocks, hazards, shadow

ENGINES = ("load0", "store0", "tensor", "vector")
SPAN = 160
"""The scratchpad bytes that random programs fight for."""


def random_rows(build: Any, rng: np.random.Generator, count: int) -> list[Any]:
    """Strided loads, stores, copies and matrix products on few bytes, with few waits."""
    rows, issued = [], dict.fromkeys(ENGINES, 0)
    for _ in range(count):
        waits = {
            f"after_{e}": int(rng.integers(1, min(n, 6) + 1))
            for e, n in issued.items()
            if n and rng.random() < 0.4
        }
        rows.append(random_row(build, rng, str(rng.choice([*ENGINES, "fence"])), waits))
        if (name := engine_of(rows[-1])) in issued:
            issued[name] += 1
    return rows


def random_row(build: Any, rng: np.random.Generator, name: str, waits: dict[str, int]) -> Any:
    if name == "fence":
        return build.fence(**waits)
    if name == "tensor":
        where = rng.integers(0, SPAN, 3).tolist()
        return build.matmul(*where[:2], 4 * where[2] // 4, (2, 2, 2), **waits)
    sizes = {"d2": int(rng.integers(1, 4)), "d3": int(rng.integers(1, 6))}
    step = int(rng.integers(5, 12))
    spad = core.address(1, int(rng.integers(0, SPAN)))
    if name == "vector":
        strides = {"x_s2": step, "out_s2": int(rng.integers(5, 12)), "out_s3": 2}
        out = core.address(1, int(rng.integers(0, SPAN)))
        return elementwise.Map.records(1, x=spad, out=out, op=0, **sizes, **strides, **waits)
    cls: Any = dma.Load if name == "load0" else dma.Store
    strides = {"dram_s2": int(rng.integers(5, 12)), "spad_s2": step}
    dram = int(rng.integers(64, 64 + SPAN))
    return cls.records(1, dram=dram, spad=spad, **sizes, **strides, **waits)


def engine_of(row: Any) -> str:
    cls = core.instruction_set()[int(row["opcode"][0])]
    return cls.engine + ("0" if cls.engine in ("load", "store") else "")


def byte_sets(found: accesses.Accesses) -> list[set[tuple[int, int]]]:
    """Per row its (memory, byte)s, one loop per dimension."""
    sets = []
    for row in range(len(found)):
        starts = [int(found.start[row])]
        for size, stride in zip(found.sizes[row], found.strides[row], strict=True):
            starts = [s + i * int(stride) for s in starts for i in range(int(size))]
        run, memory = int(found.run[row]), int(found.memory[row])
        sets.append({(memory, s + i) for s in starts for i in range(run)})
    return sets


def reachable(program: Any) -> Any:
    """bool[i, j]: i has ended when j begins; the transitive closure of what orders two of them."""
    count, engine = program.count, program.engine_of
    before = np.zeros((count, count), bool)
    queues = [np.flatnonzero(engine == e) for e in range(len(core.ENGINES))]
    for j in range(count):
        for e, queue in enumerate(queues):
            before[queue[: program.waits[j, e]], j] = True
            if j == count - 1:  # halt
                before[queue, j] = True
        before[:j, j] |= engine[:j] == engine[j] if engine[j] >= 0 else engine[:j] < 0
        before[:j, j] |= engine[:j] < 0
    for k in range(count):
        before |= before[:, k : k + 1] & before[k]
    return before


def expected_races(program: Any, found: accesses.Accesses) -> set[tuple[int, int]]:
    """(earlier, later) instructions."""
    order, sets = reachable(program), byte_sets(found)
    owner, races = found.instruction.tolist(), set()
    for a in range(len(found)):
        for b in range(a + 1, len(found)):
            i, j = owner[a], owner[b]
            writes = found.is_write[a] or found.is_write[b]
            if i != j and writes and not order[i, j] and sets[a] & sets[b]:
                races.add((i, j))
    return races


@pytest.fixture
def image(build: Any, symbol: Any) -> images.Image:
    found: images.Image = build.image([], [symbol("x", "input", "int8", (64,), 64)])
    return found


@pytest.mark.parametrize("seed", range(30))
def test_races_are_exactly_those_of_byte_sets(build: Any, image: Any, seed: int) -> None:
    program = build.program(random_rows(build, np.random.default_rng(seed), 30))
    found, order = accesses.accesses(program, image, {}), clocks.Clocks.of(program)
    got = {
        (int(found.instruction[r.earlier]), int(found.instruction[r.later]))
        for r in hazards.all_races(found, order)
    }
    assert got == expected_races(program, found)
    assert got


@pytest.mark.parametrize("seed", range(10))
def test_the_known_past_is_the_closure_of_order(build: Any, seed: int) -> None:
    program = build.program(random_rows(build, np.random.default_rng(100 + seed), 60))
    order, known = reachable(program), clocks.Clocks.of(program)
    for j in range(program.count):
        for e in range(len(core.ENGINES)):
            queue = known.queue(e)
            assert known.known[j, e] == order[queue, j].sum()


@pytest.mark.parametrize("seed", range(10))
def test_the_past_is_known_at_once_or_step_by_step(
    build: Any, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = build.program(random_rows(build, np.random.default_rng(300 + seed), 80))
    at_once = clocks.Clocks.of(program)
    monkeypatch.setattr(clocks, "ROUNDS", 0)
    np.testing.assert_array_equal(at_once.known, clocks.Clocks.of(program).known)


@pytest.mark.parametrize("seed", range(10))
def test_unwritten_bytes_are_those_of_byte_sets(build: Any, image: Any, seed: int) -> None:
    program = build.program(random_rows(build, np.random.default_rng(200 + seed), 40))
    found = accesses.accesses(program, image, {})
    written = {(0, 64 + i) for i in range(64)}
    expected = []
    for row, bytes_ in enumerate(byte_sets(found)):
        missing = set() if found.is_write[row] else bytes_ - written
        if missing:
            expected.append((row, min(missing)[1], len(missing)))
        written |= bytes_
    state = shadow.Shadow(found, image, program.count)
    assert [tuple(u) for i in range(program.count) for u in state.step(i)] == expected


def test_interleaved_blocks_do_not_race(build: Any, image: Any) -> None:
    """Even and odd columns of the same rows, written by two engines at once."""
    rows = [
        build.load(64, 0, 16),
        elementwise.Map.records(
            1, x=core.address(1, 0), out=core.address(1, 64), d2=4, d3=4, out_s2=8, out_s3=2,
            x_s2=4, after_load0=1,
        ),
        build.load(64, 65, 1, d2=16, dram_s2=1, spad_s2=2),
    ]  # fmt: skip
    program = build.program(rows)
    found = accesses.accesses(program, image, {})
    assert not list(hazards.races(found, clocks.Clocks.of(program)))
