"""Waits order every two instructions that touch the same bytes, and none is there for nothing."""

from collections.abc import Iterator
from itertools import product

import numpy as np
import pytest

from dnncc.codegen.stream import Stream
from dnncc.ir.graph import Graph
from dnncc.isa import core
from dnncc.isa.program import Program
from dnncc.memory import hazards, waits
from dnncc.memory.hazards import Place
from dnncc.memory.waits import reduced
from dnncc.passes.context import Context
from dnncc.passes.synchronize import synchronize

from ..graphs import GraphBuilder
from ..lowering import TARGETS, emitted, target
from ..random_groups import random_graph

Pair = tuple[int, int]


def conflicts(program: Program) -> set[Pair]:
    """(earlier, later) of every two that touch a common byte, one of them writing it."""
    regions = program.regions
    rows = np.stack([regions.memory, regions.start, regions.stop, regions.is_write], axis=1)
    found: set[Pair] = set()
    for row, now in zip(rows, regions.instruction.tolist(), strict=True):
        memory, start, stop, write = row
        same = (rows[:, 0] == memory) & (rows[:, 1] < stop) & (start < rows[:, 2])
        same &= (rows[:, 3] | write).astype(bool) & (regions.instruction < now)
        found.update((int(i), now) for i in regions.instruction[same])
    return found


def before(program: Program, waits: np.ndarray) -> list[int]:
    """Of each instruction, as bits, those that are over when it begins: engines work in order, a
    wait is for the first so many of an engine, and nothing is begun before a control instruction
    that precedes it is over."""
    engines = np.asarray(program.engine_of)
    queues = [np.flatnonzero(engines == e).tolist() for e in range(len(core.ENGINES))]
    last: dict[int, int] = {}
    over: list[int] = []
    for index, (engine, row) in enumerate(zip(engines.tolist(), waits.tolist(), strict=True)):
        direct = [queues[e][count - 1] for e, count in enumerate(row) if count]
        direct += [last[key] for key in (engine, core.CONTROL) if key in last]
        bits = 0
        for earlier in direct:
            bits |= over[earlier] | 1 << earlier
        over.append(bits)
        last[engine] = index
    return over


def unordered(program: Program, waits: np.ndarray) -> Iterator[Pair]:
    over = before(program, waits)
    return ((a, b) for a, b in conflicts(program) if not over[b] >> a & 1)


def synchronized(graph: Graph, name: str) -> tuple[Stream, Program]:
    machine = target(name)
    stream = synchronize(emitted(graph, machine), Context(machine))
    return stream, stream.decoded


@pytest.mark.parametrize("seed", range(16))
@pytest.mark.parametrize("name", TARGETS)
def test_conflicting_instructions_are_ordered(name: str, seed: int) -> None:
    _, program = synchronized(random_graph(seed), name)
    assert not list(unordered(program, program.waits))


def test_without_waits_they_are_not() -> None:
    _, program = synchronized(two_layers(), "odd-13x7")
    assert list(unordered(program, np.zeros_like(program.waits)))


def two_layers() -> Graph:
    """Tiled, and through DRAM: every byte is handed from one engine to the next."""
    build = GraphBuilder(1)
    x = build.input((1, 12, 20, 21))
    quant = build.tensors[x].quant
    for channels in (24, 12):
        c = build.tensors[x].shape[1]
        weight = build.constant(build.integers((channels, c, 3, 3), "int8"), quant)
        x = build.group(build.conv(x, weight, pads=(1, 1, 1, 1)))
    return build.graph(x)


def spare(program: Program, pairs: set[Pair]) -> list[tuple[int, str]]:
    """Waits without which, or with a wait for one instruction less, all pairs are in order.

    Control instructions come after all that was issued before.
    """
    control = np.flatnonzero(np.asarray(program.engine_of) == core.CONTROL).tolist()
    pairs = pairs | {(a, c) for c in control for a in range(c)}
    found = []
    for index, engine in np.argwhere(program.waits > 0).tolist():
        for fewer in {0, int(program.waits[index, engine]) - 1}:
            waits = program.waits.copy()
            waits[index, engine] = fewer
            over = before(program, waits)
            if all(over[b] >> a & 1 for a, b in pairs if b >= index):
                found.append((index, core.ENGINES[engine]))
    return found


@pytest.mark.parametrize("name", ["odd-13x7", "eyeriss-like"])
def test_every_wait_is_needed(name: str) -> None:
    _, program = synchronized(two_layers(), name)
    assert not spare(program, conflicts(program))


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("name", TARGETS)
def test_every_wait_is_needed_in_random_programs(name: str, seed: int) -> None:
    _, program = synchronized(random_graph(seed), name)
    assert not spare(program, conflicts(program))


def random_place(rng: np.random.Generator, count: int) -> Place:
    """Few engines, so that there is much to imply, and now and then a control instruction."""
    engine = rng.integers(0, 4, count)
    engine[rng.random(count) < 0.06] = core.CONTROL
    own = engine[:, None] == np.arange(len(core.ENGINES))
    through = np.cumsum(own, axis=0)
    return Place(engine, (through * own).sum(axis=1), through - own)


def closure(place: Place, waits: np.ndarray) -> np.ndarray:
    """bool[i, j]: i is over when j begins, by plain transitive closure."""
    count = len(place.engine)
    order = np.zeros((count, count), bool)
    for j, row in enumerate(waits.tolist()):
        for i in range(j):
            engine = int(place.engine[i])
            order[i, j] = (
                engine in (core.CONTROL, int(place.engine[j])) or row[engine] >= place.number[i]
            )
    for k in range(count):
        order |= order[:, k : k + 1] & order[k]
    return order


@pytest.mark.parametrize("farthest", [3, 20, core.FARTHEST_WAIT])
@pytest.mark.parametrize("seed", range(25))
def test_many_at_once_are_one_after_another(
    seed: int, farthest: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(core, "FARTHEST_WAIT", farthest)
    rng = np.random.default_rng(seed)
    place = random_place(rng, 300)
    back = rng.geometric(rng.uniform(0.01, 0.3), place.issued.shape) - 1
    needs = np.maximum(place.issued - back, 0) * (rng.random(place.issued.shape) < 0.4)
    needs[np.arange(300), place.engine] = 0
    control = place.engine == core.CONTROL
    needs[control] = place.issued[control]
    plain = reduced(needs, place.engine, place.issued)
    # The farther apart those too far back, the shorter the stretches.
    for long, together in product((0, 20), (50, waits.TOGETHER)):
        monkeypatch.setattr(waits, "LONG", long)
        monkeypatch.setattr(waits, "TOGETHER", together)
        assert (reduced(needs, place.engine, place.issued) == plain).all()


@pytest.mark.parametrize("seed", range(4))
def test_hazards_are_the_same_however_many_bands_are_looked_at(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, plain = synchronized(random_graph(seed), "odd-13x7")
    monkeypatch.setattr(hazards, "TOGETHER", 1)
    _, parted = synchronized(random_graph(seed), "odd-13x7")
    assert (plain.waits == parted.waits).all()


@pytest.mark.parametrize("long", [0, waits.LONG])
@pytest.mark.parametrize("farthest", [5, core.FARTHEST_WAIT])
@pytest.mark.parametrize("seed", range(25))
def test_reduced_is_the_transitive_reduction(
    seed: int, farthest: int, long: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of random needs: all hold, and none does when any wait is dropped."""
    monkeypatch.setattr(core, "FARTHEST_WAIT", farthest)
    rng = np.random.default_rng(seed)
    place = random_place(rng, 40)
    needs = np.where(rng.random(place.issued.shape) < 0.3, place.issued, 0)
    needs = rng.integers(0, needs + 1, dtype=np.int32)
    control = place.engine == core.CONTROL
    needs[control] = place.issued[control]
    needs[np.arange(40), place.engine] *= control  # an engine does not wait for itself
    monkeypatch.setattr(waits, "LONG", long)
    kept = reduced(needs, place.engine, place.issued)
    wanted = closure(place, needs)
    assert (closure(place, kept) >= wanted).all()
    assert (np.where(kept, place.issued - kept + 1, 0) <= farthest).all()
    for index, engine in np.argwhere(kept > 0).tolist():
        fewer = kept.copy()
        fewer[index, engine] = 0
        assert (closure(place, fewer) < wanted).any(), (index, engine)
