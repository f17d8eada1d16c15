"""Cycles of tiny programs, worked out by hand for the target of conftest.py.

There every instruction takes 1 cycle to issue, DRAM answers after 10 cycles and moves 4 bytes per
cycle in bursts of 8, the vector unit takes 2 cycles and 1 per 4 elements, queues hold 2.
"""

from typing import Any

import msgspec
import numpy as np
import pytest

from dnncc.isa import core
from dnncc.runtime import timing
from dnncc.targets import Target, events
from dnncc.targets.orders import Orders
from tests.runtime.polling import assert_polled

LOAD0, STORE0, TENSOR, VECTOR = (
    core.ENGINES.index(e) for e in ("load0", "store0", "tensor", "vector")
)


def stalls(timeline: timing.Timeline, engine: int) -> dict[str, int]:
    row = timeline.stalled()[engine].tolist()
    return {cause: n for cause, n in zip(timing.CAUSES, row, strict=True) if n}


def test_one_load(build: Any, tiny: Target) -> None:
    # issued at 1, first byte at 1 + 10, 16 bytes at 4 per cycle: until 15
    t = timing.simulate(build.program([build.load(0, 0, 16)]), tiny)
    assert t.cycles == 15
    assert t.busy()[LOAD0] == 4
    assert stalls(t, LOAD0) == {"issue": 1, "dram_latency": 10}
    assert stalls(t, VECTOR) == {"drained": 15}


def test_a_run_pays_for_whole_bursts(build: Any, tiny: Target) -> None:
    # 4 rows of 3 bytes, 32 apart: 4 bursts of 8 = 32 bytes = 8 cycles; the frame needs 12/32 = 1
    rows = build.load(0, 0, 3, d2=4, dram_s2=32, spad_s2=3)
    t = timing.simulate(build.program([rows]), tiny)
    assert (t.prices.read[0], t.prices.bus[0], t.busy()[LOAD0]) == (12, 32, 8)


def test_near_rows_share_bursts(build: Any, tiny: Target) -> None:
    # rows of 3 bytes that begin 8 apart are one run of 3 * 8 + 3 = 27 bytes: 4 bursts, not more
    rows = build.load(0, 0, 3, d2=4, dram_s2=8, spad_s2=3)
    assert timing.simulate(build.program([rows]), tiny).prices.bus[0] == 32


def test_the_scratchpad_port_bounds_a_widening_frame(build: Any, tiny: Target) -> None:
    # 4 bytes become a frame of 200 + 4 int32: 816 bytes at 32 per cycle = 26 cycles, not 2
    frame = build.load(0, 0, 4, left=100, right=100, spad_dtype=4)
    assert timing.simulate(build.program([frame]), tiny).busy()[LOAD0] == 26


def test_a_frame_without_a_block_asks_no_dram(build: Any, tiny: Target) -> None:
    # 64 bytes of fill at 32 per cycle, from 1 on
    t = timing.simulate(build.program([build.load(0, 0, 0, left=64)]), tiny)
    assert (t.cycles, t.prices.bus[0]) == (3, 0)


def test_the_next_request_flies_while_a_transfer_runs(build: Any, tiny: Target) -> None:
    # first: bytes 11..111. second: asked for before 101, so that its bytes follow at once
    t = timing.simulate(build.program([build.load(0, 0, 400), build.load(512, 512, 40)]), tiny)
    assert t.end[:2].tolist() == [111, 121]
    assert stalls(t, LOAD0) == {"issue": 1, "dram_latency": 10}


def test_a_frame_is_written_after_the_transfer_before_it(build: Any, tiny: Target) -> None:
    # bytes 11..111, then 64 bytes of fill in 2 cycles, then 16 bytes asked for at 111
    rows = [build.load(0, 0, 400), build.load(0, 400, 0, left=64), build.load(0, 512, 16)]
    t = timing.simulate(build.program(rows), tiny)
    assert t.end[:3].tolist() == [111, 113, 125]


def test_short_transfers_share_one_latency(build: Any, tiny: Target) -> None:
    # asked for at 1 and 2; bytes 11..15 and 15..19
    t = timing.simulate(build.program([build.load(0, 0, 16), build.load(64, 64, 16)]), tiny)
    assert t.begin[:2].tolist() == [1, 2]
    assert t.cycles == 19
    assert stalls(t, LOAD0) == {"issue": 1, "dram_latency": 10}


def test_few_requests_do_not_hide_all_latency(build: Any, tiny: Target) -> None:
    # two bursts of 8 at 11..15. third: asked for when the first has come, at 13; bytes 23..27
    rows = [build.load(0, 0, 16), build.load(64, 64, 16)]
    t = timing.simulate(build.program(rows), asking(tiny, 2))
    assert (t.begin[1], t.start[1], t.cycles) == (13, 23, 27)
    assert stalls(t, LOAD0) == {"issue": 1, "dram_latency": 18}


def test_one_request_at_a_time_pays_latency_for_each_burst(build: Any, tiny: Target) -> None:
    # 4 bursts, each 10 cycles after the one before: 11..13, 23..25, 35..37, 47..49. Between them
    # the link is free, and the store's bytes leave: 2..4, and when the first are answered, 14..16
    rows = [build.load(0, 0, 32), build.store(1024, 1024, 16)]
    t = timing.simulate(build.program(rows), asking(tiny, 1))
    assert (t.start[0], t.end[0]) == (11, 49)
    assert (t.start[1], t.end[1]) == (2, 16)


@pytest.mark.parametrize("requests", [1, 3, 6, 0])
def test_transfers_are_those_of_their_bursts(build: Any, tiny: Target, requests: int) -> None:
    """Burst by burst: asked for in order, as soon as the one `requests` earlier has come."""
    rng = np.random.default_rng(requests)
    one_each = requests in (1, 3)  # with more, bursts of a transfer come evenly only on average
    sizes = [8 if one_each else int(n) * 8 for n in rng.integers(1, 12, 60)]
    rows = [build.copy(0, 512, 60), build.copy(0, 512, 120)]
    rows += [build.load(0, 0, size, after_vector=int(rng.integers(0, 3))) for size in sizes]
    program = build.program(rows)
    t = timing.simulate(program, asking(tiny, requests))
    most, come, ends = requests or 6, [0] * 6, []
    for i, size in enumerate(sizes, 2):
        ready = max(t.issue[i], t.end[: program.waits[i, VECTOR]].max(initial=0))
        for _ in range(size // 8):
            come.append(max(max(ready, come[-most]) + 10, come[-1]) + 2)
        ends.append(come[-1])
    assert t.end[2 : len(rows)].tolist() == ends


def test_waits_chain_the_engines(build: Any, tiny: Target) -> None:
    # load: bytes 11..15. vector: 8 elements, 2 + 2 cycles, 15..19. store: bytes 19..21
    rows = [
        build.load(0, 0, 8, d2=2, dram_s2=8, spad_s2=8),
        build.copy(0, 16, 8, after_load0=1),
        build.store(16, 64, 8, after_vector=1),
    ]
    t = timing.simulate(build.program(rows), tiny)
    assert t.end[:3].tolist() == [15, 19, 21]
    assert stalls(t, VECTOR) == {"issue": 2, "load": 13, "drained": 2}
    assert stalls(t, STORE0) == {"issue": 3, "vector": 16}


@pytest.mark.parametrize(("elements", "order"), [(8, (3, 0, 1)), (440, (0, 1, 3))])
def test_the_link_goes_to_whose_bytes_are_there_not_to_the_first_instruction(
    elements: int, order: tuple[int, ...], build: Any, tiny: Target
) -> None:
    # loads: 100 cycles from 11 on, first byte of the next at 111. vector: from 3, 2 + elements / 4
    rows = [
        build.load(0, 0, 400),
        build.load(512, 512, 16),
        build.copy(1024, 1536, elements),
        build.store(1536, 1024, 16, after_vector=1),
    ]
    t = timing.simulate(build.program(rows), tiny)
    assert sorted((0, 1, 3), key=t.start.__getitem__) == list(order)
    early = [(7, 11), (11, 111), (111, 115)]
    late = [(11, 111), (111, 115), (115, 119)]
    expected = early if elements == 8 else late
    assert [(t.start[i], t.end[i]) for i in order] == expected


def test_full_duplex_separates_loads_and_stores(build: Any, tiny: Target) -> None:
    rows = [build.load(0, 0, 400), build.store(1024, 1024, 400)]
    # half: the load's bytes follow the store's, 2..102. full: its first byte is at 1 + 10
    assert timing.simulate(build.program(rows), tiny).start[:2].tolist() == [102, 2]
    assert timing.simulate(build.program(rows), duplex(tiny)).start[:2].tolist() == [11, 2]


def test_the_first_instruction_comes_after_the_start(build: Any, tiny: Target) -> None:
    issue = msgspec.structs.replace(tiny.issue, start_cycles=1000)
    late = msgspec.structs.replace(tiny, issue=issue)
    program = build.program([build.load(0, 0, 16), build.copy(0, 1024, 100)])
    soon, t = timing.simulate(program, tiny), timing.simulate(program, late)
    for times, others in ((t.issue, soon.issue), (t.start, soon.start), (t.end, soon.end)):
        assert np.array_equal(times, others + 1000)
    assert stalls(t, LOAD0)["issue"] == 1001


def test_a_full_queue_stops_issue_for_all(build: Any, tiny: Target) -> None:
    # four vector instructions of 2 + 25 cycles; issued at 1, 2, 3 (the first has begun), then when
    # the second begins, at 28; the load behind them a cycle later
    rows = [build.copy(0, 1024, 100) for _ in range(4)] + [build.load(0, 2048, 16)]
    t = timing.simulate(build.program(rows), tiny)
    assert t.issue.tolist() == [1, 2, 3, 28, 29, 109]
    assert t.cycles == 109
    assert stalls(t, LOAD0) == {"issue": 29, "dram_latency": 10, "drained": 66}


def test_a_fence_stops_issue(build: Any, tiny: Target) -> None:
    # load until 15; the fence passes then, and the vector instruction is issued at 16
    rows = [build.load(0, 0, 16), build.fence(after_load0=1), build.copy(0, 16, 8)]
    t = timing.simulate(build.program(rows), tiny)
    assert t.issue[1:3].tolist() == [15, 16]
    assert t.cycles == 20


def test_back_to_back_tiles_overlap_in_the_array(build: Any, tiny: Target) -> None:
    # 10 vectors through 4 x 4 PEs: 4 cycles of weights, 10 of vectors, 4 + 4 - 2 to drain: 20.
    # The second's weights enter in the last 4 cycles of the first's vectors: from 11, until 31
    tile = build.matmul(0, 64, 128, (10, 4, 4))
    t = timing.simulate(build.program([tile, tile]), tiny)
    assert t.begin[:2].tolist() == [1, 11]
    assert t.end[:2].tolist() == [21, 31]
    assert t.busy()[TENSOR] == 30


def test_every_cycle_is_accounted_for(build: Any, tiny: Target) -> None:
    rng = np.random.default_rng(5)
    for _ in range(20):
        t = timing.simulate(build.program(random_rows(build, rng, 60)), tiny)
        assert (t.stalls >= 0).all()
        table = t.stalled()
        assert (table >= 0).all()
        assert (t.busy() + table.sum(axis=1) == t.cycles).all()


def test_order_of_grants_is_that_of_first_bytes(build: Any, tiny: Target) -> None:
    rng = np.random.default_rng(6)
    for _ in range(20):
        t = timing.simulate(build.program(random_rows(build, rng, 60)), tiny)
        moves = np.flatnonzero(t.prices.channel >= 0)
        by_start = moves[np.argsort(t.start[moves], kind="stable")]
        there = t.begin + t.prices.latency
        assert (np.diff(there[by_start]) >= 0).all()
        assert (t.start[by_start][1:] >= t.end[by_start][:-1]).all()


def test_waits_hold_in_time(build: Any, tiny: Target) -> None:
    rng = np.random.default_rng(7)
    program = build.program(random_rows(build, rng, 200))
    t = timing.simulate(program, tiny)
    queues = [np.flatnonzero(t.engine == e) for e in range(len(core.ENGINES))]
    for i, waits in enumerate(program.waits):
        ends = [t.end[queues[e][n - 1]] for e, n in enumerate(waits) if n]
        assert t.begin[i] >= max(ends, default=0)


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("requests", [0, 1, 4, 100])
def test_times_are_those_of_asking_again_and_again(
    build: Any, tiny: Target, shared: bool, requests: int
) -> None:
    rng = np.random.default_rng(8)
    for _ in range(8):
        program = build.program(random_rows(build, rng, 150))
        target = asking(tiny if shared else duplex(tiny), requests)
        assert_polled(timing.simulate(program, target), program, target)


def test_the_watchdog_names_what_blocks() -> None:
    zero, none = np.zeros(1, np.int64), np.full(1, -1)
    itself = Orders(
        engine=zero, waited=zero[None], slot=none, fetch=zero + 1, channel=none, latency=zero,
        held=zero, behind=none, ahead=zero, cycles=zero + 1, overlap=zero,
    )  # fmt: skip
    with pytest.raises(events.Stuck) as stuck:
        events.played(itself)
    assert stuck.value.heads == [(0, 0, [0])]


def duplex(tiny: Target) -> Target:
    channel = msgspec.structs.replace(tiny.dram.channels[0], duplex="full")
    dram = msgspec.structs.replace(tiny.dram, channels=(channel,))
    return msgspec.structs.replace(tiny, dram=dram)


def asking(tiny: Target, requests: int) -> Target:
    engines = tuple(msgspec.structs.replace(e, requests=requests) for e in tiny.engines)
    return msgspec.structs.replace(tiny, engines=engines)


def random_rows(build: Any, rng: np.random.Generator, count: int) -> list[Any]:
    """Loads, stores, vector and tensor instructions with random waits that can be satisfied."""
    rows, issued = [], dict.fromkeys(("load0", "store0", "tensor", "vector"), 0)
    for _ in range(count):
        waits = {f"after_{e}": int(rng.integers(0, min(n, 4) + 1)) for e, n in issued.items()}
        size = int(rng.integers(1, 200))
        name = str(rng.choice(list(issued)))
        issued[name] += 1
        if name == "load0":
            rows.append(build.load(0, 0, size, **waits))
        elif name == "store0":
            rows.append(build.store(0, 0, size, **waits))
        elif name == "tensor":
            rows.append(build.matmul(0, 512, 1024, (size // 8 + 1, 4, 4), **waits))
        else:
            rows.append(build.copy(0, 512, size, **waits))
    return rows
