"""When a program's instructions run on a target, and what every engine does in every cycle.

The order of events comes from targets/events.py, the prices from pricing.py; here both meet, and
the cycles of each engine are divided, exactly, into busy cycles and stalls by cause. The model:

* Issue. From the target's `start_cycles` on, one unit fetches instructions in program order,
  max(code bytes / fetch rate, cycles per instruction) each, and puts them into their engine's
  queue. A full queue stops it until that engine's next instruction begins; a control instruction
  until its waits are satisfied.
* Begin. An instruction begins when it is issued, its waits are satisfied (an instruction retires
  when it ends) and its engine is free.
* Array. head, body and tail are the dataflow's; the next instruction begins as much earlier as its
  head fits under this one's body (`hide`), and while this one drains (`tail`).
* Vector. latency + elements / lanes.
* DMA. The first request goes out when the instruction begins; the first byte of a load comes
  `latency` later, once the DRAM link is free. A store's data leave with its request, once the link
  is free, and it retires when they have: writes are posted, and DRAM serves later reads after them.
  An engine has up to `requests` bursts under way, of several instructions, so that the latency of
  one passes while data of others move; data come in the order of the instructions, and one retires
  when all of its own have. Links are granted in the order in which first bytes are there, whichever
  engine's; one is held for max(whole bursts / link rate, scratchpad bytes / port rate), its engine
  longer where its requests are too few for that rate. A half-duplex channel is one link, a
  full-duplex one a link per direction. A load that only fills its frame does not ask DRAM.
* Halt ends when all engines are done. Host parts take no cycles of the accelerator.

Not modelled: bank conflicts, ports shared between engines, DRAM pages and refresh.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from msgspec import Struct

from dnncc.isa import control, core
from dnncc.isa import program as programs
from dnncc.targets import Target
from dnncc.targets.events import Stuck
from dnncc.targets.orders import Orders, Times, overlaps, queue_slots
from dnncc.targets.requests import windows

from .errors import TimingError
from .periods import times_of
from .pricing import Prices, prices

Ints = npt.NDArray[np.int64]
Indices = npt.NDArray[np.int32]

CAUSES = ("load", "store", "tensor", "vector", "issue", "dram_latency", "dram_bandwidth", "drained")
"""Why an engine stalls: it waits for an engine of that kind, for its next instruction, for DRAM's
first byte, for a DRAM link that is taken; or it has no more work."""

ISSUE, LATENCY, BANDWIDTH, DRAINED = (CAUSES.index(c) for c in CAUSES[4:])
CAUSE_OF_ENGINE = np.array([CAUSES.index(e.rstrip("01")) for e in core.ENGINES])


class Timeline(Struct, frozen=True):
    """Times in cycles, int64[count] per instruction; `engine` indexes ENGINES, -1 is control.

    `begin` is when an instruction leaves its queue, `start` when its engine is busy with it and no
    more with the one before, `end` when it retires. `stalls` is [count, CAUSES]: what its
    engine waited for between the end of the one before and `start`. `cycles` is the end of all.
    """

    engine: Ints
    issue: Ints
    begin: Ints
    start: Ints
    end: Ints
    stalls: npt.NDArray[Any]
    cycles: int
    prices: Prices

    def busy(self) -> Ints:
        """Busy cycles per engine, int64[ENGINES]."""
        return per_engine(self.engine, self.end - self.start)

    def by_row(self, rows: Ints, count: int) -> Ints:
        """Busy cycles, then stalls by cause, of groups of instructions: int64[count, ENGINES,
        1 + CAUSES]. `rows` numbers each instruction's group; what is drained belongs to none."""
        known = self.engine >= 0
        table = np.zeros((count, len(core.ENGINES), 1 + len(CAUSES)), np.int64)
        columns = np.column_stack((self.end - self.start, self.stalls))
        np.add.at(table, (rows[known], self.engine[known]), columns[known])
        return table

    def stalled(self) -> Ints:
        """Stall cycles int64[ENGINES, CAUSES]; with `busy`, each row sums to `cycles`."""
        columns = [per_engine(self.engine, self.stalls[:, c]) for c in range(len(CAUSES))]
        table = np.stack(columns, axis=1)
        table[:, DRAINED] = self.cycles - self.busy() - table.sum(axis=1)
        return table


def numbered(index: int) -> str:
    return f"instruction {index}"


def simulate(
    program: programs.Program, target: Target, describe: Callable[[int], str] = numbered
) -> Timeline:
    """Time a program. Raises TimingError for waits that nothing satisfies; `describe` names
    instructions in it."""
    engine = np.asarray(program.engine_of, np.int64)
    priced = prices(program, target)
    queues = [np.flatnonzero(engine == e) for e in range(len(core.ENGINES))]
    waited = awaited(program, queues, describe)
    try:
        times = times_of(orders_of(program, target, priced, queues, waited))
    except Stuck as stuck:
        raise TimingError(blocked(stuck, describe)) from None
    return timeline(engine, queues, waited, priced, times)


def blocked(stuck: Stuck, describe: Callable[[int], str]) -> str:
    """One line on what each engine waits for."""
    heads = [
        f"{core.ENGINES[engine]} at {describe(index)} waits for {', '.join(map(describe, missing))}"
        for engine, index, missing in stuck.heads
        if missing
    ]
    if stuck.issue is not None:
        heads.append(f"issue stops at {describe(stuck.issue)}")
    return f"no progress at cycle {stuck.cycle}: {'; '.join(heads)}"


def awaited(
    program: programs.Program, queues: list[Ints], describe: Callable[[int], str] = numbered
) -> Indices:
    """int32[count, ENGINES]: the instruction of each engine that is waited for, -1 for none."""
    waits = program.waits
    found = np.full((len(core.ENGINES), program.count), -1, np.int32).T
    for e, queue in enumerate(queues):
        waiting = np.flatnonzero(waits[:, e] > 0)
        counts = waits[waiting, e]
        if np.any(counts > len(queue)):
            first, most = int(waiting[np.argmax(counts > len(queue))]), int(counts.max())
            never = f"waits for {most} of {core.ENGINES[e]}, which retires {len(queue)}"
            raise TimingError(f"{describe(first)} {never}")
        found[waiting, e] = queue[counts - 1]
    for halt in np.flatnonzero(np.asarray(program.opcodes) == control.Halt.opcode):
        found[halt] = [last_before(queue, int(halt)) for queue in queues]
    return found


def last_before(queue: Ints, index: int) -> int:
    at = int(np.searchsorted(queue, index))
    return int(queue[at - 1]) if at else -1


def orders_of(
    program: programs.Program, target: Target, priced: Prices, queues: list[Ints], waited: Indices
) -> Orders:
    """What is to be timed."""
    behind, ahead = windows(priced.bus, priced.cycles, priced.channel, queues, target)
    return Orders(
        engine=np.asarray(program.engine_of, np.int64),
        waited=waited,
        slot=queue_slots(program.count, queues, target.issue.queue_depth),
        fetch=priced.fetch,
        channel=priced.channel,
        latency=priced.latency,
        held=priced.held,
        behind=behind,
        ahead=ahead,
        cycles=priced.cycles,
        overlap=overlaps(priced.head, priced.tail, priced.hide, priced.cycles, queues),
    )


def timeline(
    engine: Ints, queues: list[Ints], waited: Indices, priced: Prices, times: Times
) -> Timeline:
    """The result of the event loop with the stalls before each instruction."""
    issue, begin, start, end = times
    previous = np.zeros_like(end)
    for queue in queues:
        previous[queue[1:]] = end[queue[:-1]]
    start = np.maximum(start, previous)
    stalls = divide(previous, issue, waited, end, begin + priced.latency, start)
    stalls[engine < 0] = 0
    return Timeline(engine, issue, begin, start, end, stalls, int(end.max(initial=0)), priced)


def divide(
    previous: Ints, issue: Ints, waited: Indices, end: Ints, first_byte: Ints, start: Ints
) -> npt.NDArray[Any]:
    """[count, CAUSES]: the gap from `previous` to `start`, cut where each cause ends.

    First the instruction is not there (issue), then its waits hold it (charged to the engine that
    satisfies the last one), then DRAM's latency, then a DRAM link that others use.
    """
    released, culprit = last_released(waited, end)
    small = int(end.max(initial=0)) <= np.iinfo(np.int32).max  # memory costs more than arithmetic
    stalls = np.zeros((len(CAUSES), len(end)), np.int32 if small else np.int64)
    here = np.clip(issue, previous, start)
    free = np.clip(released, here, start)
    first = np.clip(first_byte, free, start)
    stalls[culprit, np.arange(len(end))] = free - here
    stalls[ISSUE] += here - previous
    stalls[LATENCY] += first - free
    stalls[BANDWIDTH] += start - first
    return stalls.T


def last_released(waited: Indices, end: Ints) -> tuple[Ints, Ints]:
    """When the last of what each instruction waits for has ended, and the cause that it is."""
    released, culprit = np.zeros_like(end), np.full_like(end, CAUSE_OF_ENGINE[0])
    for cause, column in zip(CAUSE_OF_ENGINE.tolist(), waited.T, strict=True):
        ended = np.where(column >= 0, end[column], 0)
        culprit[ended > released] = cause
        np.maximum(released, ended, out=released)
    return released, culprit


def per_engine(engine: Ints, values: Ints) -> Ints:
    """Sums int64[ENGINES] of values of instructions; control instructions are on none."""
    sums = np.zeros(len(core.ENGINES) + 1, np.int64)
    np.add.at(sums, engine, values)
    return sums[:-1]
