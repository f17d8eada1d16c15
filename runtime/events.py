"""When each instruction is issued, begins and ends: the event loop, on plain lists.

Engines, queues, waits and DRAM channels are all that it knows; prices come from outside. Times are
cycles. Every rule is one method below; nothing else in the runtime decides a time.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from .errors import RunError

UNKNOWN = -1


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
    the DRAM channel or -1, `latency` the cycles from a DRAM request to its first byte, `cycles` the
    time that the engine (and its channel) is busy. `fetch` is spent in the issue unit. `overlap` is
    how long before its predecessor's end an instruction may begin on the same engine.
    """

    engine: Sequence[int]
    queues: Sequence[Sequence[int]]
    after: Sequence[Sequence[int]]
    slot: Sequence[int]
    fetch: Sequence[int]
    channel: Sequence[int]
    latency: Sequence[int]
    cycles: Sequence[int]
    overlap: Sequence[int]


@dataclass(slots=True)
class Clock:
    """The state of the loop, and its result: `issue`, `begin`, `start`, `end` per instruction.

    `begin` is when an instruction leaves its queue (a DMA sends its request), `start` when its
    engine becomes busy with it (the first byte moves); they differ only where DRAM is involved.
    Per engine, `free` is when the last instruction that began ends, and `asks` when it started: a
    DMA engine has one request under way while it moves the data of the one before.
    """

    work: Work
    issue: list[int] = field(init=False)
    begin: list[int] = field(init=False)
    start: list[int] = field(init=False)
    end: list[int] = field(init=False)
    now: int = 0
    next_issue: int = 0
    position: list[int] = field(init=False)
    free: list[int] = field(init=False)
    asks: list[int] = field(init=False)
    requests: dict[int, int] = field(default_factory=dict)
    channel_free: dict[int, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        count, engines = len(self.work.engine), len(self.work.queues)
        self.issue, self.begin = [UNKNOWN] * count, [UNKNOWN] * count
        self.start, self.end = [UNKNOWN] * count, [UNKNOWN] * count
        self.position = [0] * engines
        self.free, self.asks = [0] * engines, [0] * engines

    def run(self) -> None:
        """Time everything. Raises Stuck if nothing can go on: no legal program causes it."""
        engines = [e for e, queue in enumerate(self.work.queues) if queue]
        requests, moved = self.requests, True
        while moved:
            moved = self.issue_all()
            for engine in engines:
                if engine not in requests:
                    moved |= self.begin_all(engine)
            moved = moved or self.grant()
        if UNKNOWN in self.end:
            raise self.blocked()

    def issue_all(self) -> bool:
        """Issue in program order as far as times are known; a full queue holds everything up."""
        work, i, now = self.work, self.next_issue, self.now
        for i in range(self.next_issue, len(work.engine)):
            slot = work.slot[i]
            room = self.begin[slot] if slot >= 0 else 0
            if work.engine[i] < 0:
                room = self.ended(work.after[i])
            if room == UNKNOWN:
                break
            now = max(now + work.fetch[i], room)
            self.issue[i] = now
            if work.engine[i] < 0:
                self.begin[i] = self.start[i] = self.end[i] = now
        else:
            i = len(work.engine)
        moved = i > self.next_issue
        self.next_issue, self.now = i, now
        return moved

    def ended(self, instructions: Sequence[int]) -> int:
        """When the last of them ends; UNKNOWN while one has no end yet."""
        end, latest = self.end, 0
        for i in instructions:
            if end[i] == UNKNOWN:
                return UNKNOWN
            latest = max(latest, end[i])
        return latest

    def begin_all(self, engine: int) -> bool:
        """Begin the engine's instructions in order; a DMA stops at its request for a channel."""
        work, issue = self.work, self.issue
        queue, free = work.queues[engine], self.free[engine]
        first = at = self.position[engine]
        while at < len(queue) and issue[queue[at]] != UNKNOWN:
            i = queue[at]
            ready = self.ended(work.after[i])
            if ready == UNKNOWN:
                break
            at += 1
            if work.channel[i] >= 0:
                self.begin[i] = max(issue[i], ready, self.asks[engine])
                self.requests[engine] = i
                break
            begin = self.begin[i] = self.start[i] = max(issue[i], ready, free - work.overlap[i])
            self.end[i] = free = max(begin + work.cycles[i], free)
            self.asks[engine] = begin
        self.position[engine], self.free[engine] = at, free
        return at > first

    def grant(self) -> bool:
        """Give a channel to the earliest request.

        Whatever is still blocked waits for the end of a pending transfer, so it cannot ask earlier
        than the earliest request: granting that one is what would happen in order of time.
        """
        if not self.requests:
            return False
        engine = min(self.requests, key=lambda e: (self.begin[self.requests[e]], e))
        i = self.requests.pop(engine)
        channel = self.work.channel[i]
        first_byte = self.begin[i] + self.work.latency[i]
        start = max(first_byte, self.channel_free.get(channel, 0), self.free[engine])
        end = start + self.work.cycles[i]
        self.start[i] = self.asks[engine] = start
        self.end[i] = self.free[engine] = self.channel_free[channel] = end
        return True

    def blocked(self) -> Stuck:
        """What each engine waits for."""
        after, end, issue = self.work.after, self.end, self.next_issue
        heads = [
            (e, queue[at], [i for i in after[queue[at]] if end[i] == UNKNOWN])
            for e, (queue, at) in enumerate(zip(self.work.queues, self.position, strict=True))
            if at < len(queue)
        ]
        cycle = max((t for t in end if t != UNKNOWN), default=0)
        return Stuck(cycle, heads, issue if issue < len(end) else None)
