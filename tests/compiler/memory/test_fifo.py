"""Slots of a memory that is first in, first out lie where they can be filled soonest."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import dnncc
from dnncc import targets
from dnncc.ir.tile import Buffer
from dnncc.isa import core
from dnncc.memory.fifo import NEVER, Held, fifo_of, soonest
from dnncc.runtime import load
from dnncc.runtime.verification import verify
from tests.compiler.passes.test_prefetch import chain
from tests.oracle import run

LOADS, ROOM = core.ENGINES.index("load1"), 4096


def weights(size: int, slots: int) -> Buffer:
    return Buffer("weight", "weight", "fifo", (size,), np.dtype(np.int8), slots)


def held(*rows: tuple[int, int, float]) -> Held:
    start, stop, until = zip(*rows, strict=True)
    return Held(np.array(start), np.array(stop), np.array(until))


@pytest.mark.parametrize("name", ["tpu-like", "gemmini-like", "eyeriss-like", "nvdla-like-full"])
def test_a_fifo_has_a_memory_and_a_link_of_its_own(name: str) -> None:
    assert fifo_of(targets.load(name)) == ("wfifo" if name == "tpu-like" else "")


def test_what_was_never_used_comes_first_then_what_is_done_with() -> None:
    past = held((0, 1024, 3.5), (1024, 3072, 2.5))
    assert soonest(past, weights(512, 5), ROOM) == (3072, 3584, 1024, 1536, 2048)


def test_what_covers_all_of_earlier_slots_takes_their_place() -> None:
    past = held((0, 64, 1.0), (64, 256, 2.0)).then(held((0, 128, 5.0)))
    assert past.start.tolist() == [64, 0]
    assert past.free(np.array([0, 128, 256]), 64).tolist() == [5.0, 2.0, -1.0]


rows = st.lists(st.tuples(st.integers(0, 30), st.integers(1, 8), st.floats(0, 9)), max_size=8)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(rows, st.integers(1, 900), st.integers(1, 6))
def test_slots_are_apart(some: list[tuple[int, int, float]], size: int, slots: int) -> None:
    taken = [(64 * a, min(64 * (a + n), ROOM), until) for a, n, until in some]
    past = held(*taken) if taken else Held.nothing()
    buffer = weights(size, slots)
    places = soonest(past, buffer, ROOM)
    ends = [place + buffer.slot_bytes for place in sorted(places)]
    assert all(0 <= place for place in places) and max(ends, default=0) <= ROOM
    assert all(end <= start for end, start in zip(ends, sorted(places)[1:], strict=False))
    assert len(places) in (0, slots)
    assert places or slots * buffer.slot_bytes * 2 > ROOM or slots > 1
    assert not np.isin(NEVER, past.free(np.array(places, np.int64), buffer.slot_bytes))


def loads_of(made: Any) -> Any:
    """Numbers of the instructions that load weights."""
    return np.flatnonzero(made.program.engine_of == LOADS)


@pytest.mark.parametrize("seed", range(6))
def test_weights_come_in_order_as_soon_as_there_is_room(seed: int) -> None:
    """Before the layer that reads them begins, and nothing that is still read is overwritten."""
    model, feeds = chain(seed)
    made = dnncc.compile(model, "tpu-like", strict=True)
    assert made.image.debug
    node_of = np.asarray(made.image.debug.node_of)
    mine = loads_of(made)
    assert (np.diff(node_of[mine]) >= 0).all()
    first = [int(np.flatnonzero(node_of == n)[0]) for n in range(1, int(node_of.max()) + 1)]
    assert any(int(made.program.engine_of[at]) == LOADS for at in first)
    assert not verify(made.image)
    for got, wanted in zip(
        load(made.image).run(None, feeds), run(model, feeds).values(), strict=True
    ):
        np.testing.assert_array_equal(got, wanted)


def test_results_do_not_wait_behind_many_loads() -> None:
    """No more stand before the first step on the array than half of a queue, and that one's own."""
    made = dnncc.compile(chain(1)[0], "tpu-like", strict=True)
    first = int(np.flatnonzero(made.program.engine_of == core.ENGINES.index("tensor"))[0])
    assert (loads_of(made) < first).sum() == 1
