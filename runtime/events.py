"""When each instruction is issued, begins and ends: the event loop, on plain lists.

Engines, queues, waits and DRAM channels are all that it knows; prices come from outside. Times are
cycles. The issue unit and each engine is a coroutine that runs as far as times are known, then
yields what it waits for and is woken by whoever finds that out: 1.4 us an instruction, where asking
all engines again and again took 7.
"""

import heapq
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field

from .errors import RunError

UNKNOWN = -1

Unit = Generator[int, None, None]
"""Yields keys: i for the end of instruction i, count + i for its begin, -1 - i for its issue."""


class TimingError(RunError):
    """The model of time cannot go on; names the engine and the instruction that block it."""


class Stuck(Exception):
    """Nothing can go on at `cycle`. `heads` are, per engine with work, its number, its next
    instruction and those without an end that it waits for; `issue` is where issue stopped."""

    def __init__(
        self, cycle: int, heads: Sequence[tuple[int, int, list[int]]], issue: int | None
    ) -> None:
        super().__init__(f"no progress at cycle {cycle}: {heads}, issue at {issue}")
        self.cycle, self.heads, self.issue = cycle, heads, issue


@dataclass(slots=True)
class Work:
    """What is to be timed; one entry per instruction unless noted.

    `queues` holds per engine its instructions in program order, `after` the instructions that have
    to end first, `slot` the one that has to leave the queue first (-1: there is room), `channel`
    the DRAM channel or -1, `held` the cycles that it is taken for, `latency` those from a DRAM
    request to its first byte, `cycles` the time that the engine is busy. A transfer may be asked
    for `ahead` cycles before the end of the one that it is `behind` (-1: at any time). `fetch` is
    spent in the issue unit. `overlap` is how long before its predecessor's end an instruction may
    begin on the same engine.
    """

    engine: Sequence[int]
    queues: Sequence[Sequence[int]]
    after: Sequence[Sequence[int]]
    slot: Sequence[int]
    fetch: Sequence[int]
    channel: Sequence[int]
    latency: Sequence[int]
    held: Sequence[int]
    behind: Sequence[int]
    ahead: Sequence[int]
    cycles: Sequence[int]
    overlap: Sequence[int]


@dataclass(slots=True)
class Clock:
    """The state of the loop, and its result: `issue`, `begin`, `start`, `end` per instruction.

    `begin` is when an instruction leaves its queue (a DMA sends its request), `start` when its
    engine becomes busy with it (the first byte moves); they differ only where DRAM is involved.
    `waiting` holds units by what they wait for, `woken` those that can go on; `requests` are
    (begin, engine, instruction) of transfers that no channel has been given to.
    """

    work: Work
    issue: list[int] = field(init=False)
    begin: list[int] = field(init=False)
    start: list[int] = field(init=False)
    end: list[int] = field(init=False)
    waiting: dict[int, list[Unit]] = field(default_factory=dict)
    woken: list[Unit] = field(default_factory=list)
    requests: list[tuple[int, int, int]] = field(default_factory=list)
    units: list[Unit] = field(init=False)
    free: list[int] = field(init=False)
    channel_free: dict[int, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        count, engines = len(self.work.engine), len(self.work.queues)
        self.issue, self.begin = [UNKNOWN] * count, [UNKNOWN] * count
        self.start, self.end = [UNKNOWN] * count, [UNKNOWN] * count
        self.free = [0] * engines
        self.units = [self.engine(number) for number in range(engines)]

    def run(self) -> None:
        """Time everything. Raises Stuck if nothing can go on: no legal program causes it."""
        woken, waiting = self.woken, self.waiting
        woken += [*self.units, self.issuer()]
        while woken or self.requests:
            if not woken:
                self.grant()
                continue
            unit = woken.pop()
            need = next(unit, None)
            if need is not None:
                waiting.setdefault(need, []).append(unit)
        if UNKNOWN in self.end:
            raise self.blocked()

    def issuer(self) -> Unit:
        """Issue in program order; a full queue holds everything up."""
        work, issue, begin, end = self.work, self.issue, self.begin, self.end
        waiting, woken, count, now = self.waiting, self.woken, len(self.work.engine), 0
        for i, (engine, slot, fetch) in enumerate(
            zip(work.engine, work.slot, work.fetch, strict=True)
        ):
            now += fetch
            if engine < 0:
                for other in work.after[i]:
                    if end[other] < 0:
                        yield other
                    now = max(now, end[other])
                begin[i] = self.start[i] = end[i] = now
                woken += waiting.pop(i, ())
            elif slot >= 0:
                if begin[slot] < 0:
                    yield count + slot
                if begin[slot] > now:
                    now = begin[slot]
            issue[i] = now
            if -1 - i in waiting:
                woken += waiting.pop(-1 - i)

    def engine(self, number: int) -> Unit:
        """Begin the engine's instructions in order; a DMA asks for its channel, and goes on.

        `asked` is when the last request went out, `pending` the last transfer, whose data must have
        come before something else than a transfer begins.
        """
        work, issue, begin, start, end = self.work, self.issue, self.begin, self.start, self.end
        waiting, woken, count = self.waiting, self.woken, len(self.work.engine)
        after, channel, cycles, overlap = work.after, work.channel, work.cycles, work.overlap
        free = asked = 0
        pending = UNKNOWN
        for i in work.queues[number]:
            if issue[i] < 0:
                yield -1 - i
            ready = issue[i]
            for other in after[i]:
                if end[other] < 0:
                    yield other
                if end[other] > ready:
                    ready = end[other]
            if channel[i] >= 0:
                behind = work.behind[i]
                if behind >= 0:
                    if end[behind] < 0:
                        yield behind
                    asked = max(asked, end[behind] - work.ahead[i])
                begin[i] = asked = ready if ready > asked else asked
                heapq.heappush(self.requests, (asked, number, i))
                pending = i
            else:
                if pending >= 0:
                    if end[pending] < 0:
                        yield pending
                    free, pending = end[pending], UNKNOWN
                least = free - overlap[i]
                begin[i] = start[i] = asked = ready if ready > least else least
                free = end[i] = self.free[number] = max(asked + cycles[i], free)
                if i in waiting:
                    woken += waiting.pop(i)
            if count + i in waiting:
                woken += waiting.pop(count + i)

    def grant(self) -> None:
        """Give a channel to the earliest request.

        Whatever is still blocked waits for data of a pending transfer, so it cannot ask earlier
        than the earliest request: granting that one is what would happen in order of time.
        """
        begin, engine, i = heapq.heappop(self.requests)
        work, channel = self.work, self.work.channel[i]
        first_byte = begin + work.latency[i]
        start = max(first_byte, self.channel_free.get(channel, 0), self.free[engine])
        self.start[i] = start
        self.channel_free[channel] = start + work.held[i]
        self.end[i] = self.free[engine] = start + work.cycles[i]
        self.woken += self.waiting.pop(i, ())

    def blocked(self) -> Stuck:
        """What each engine waits for."""
        after, end = self.work.after, self.end
        stopped = [[i for i in queue if end[i] == UNKNOWN][:1] for queue in self.work.queues]
        heads = [
            (engine, i, [other for other in after[i] if end[other] == UNKNOWN])
            for engine, rest in enumerate(stopped)
            for i in rest
        ]
        cycle = max((t for t in end if t != UNKNOWN), default=0)
        issue = self.issue.index(UNKNOWN) if UNKNOWN in self.issue else None
        return Stuck(cycle, heads, issue)
