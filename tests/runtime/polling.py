"""The rules of time in the plainest way: every unit is asked again until nothing moves.

What events.played has to agree with, which wakes whoever waits instead.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from dnncc.isa import core
from dnncc.isa import program as programs
from dnncc.runtime import timing
from dnncc.targets import Target, events
from dnncc.targets.orders import Orders


class Times(NamedTuple):
    """Per instruction."""

    issue: list[int]
    begin: list[int]
    start: list[int]
    end: list[int]


@dataclass(frozen=True)
class Request:
    """A transfer that waits for its channel."""

    begin: int
    engine: int
    index: int


class Polling:
    """Times of all instructions of some work."""

    def __init__(self, work: Orders) -> None:
        count, engines = work.waited.shape
        self.work, self.queues = work, [queue.tolist() for queue in work.queues()]
        self.times = Times(*([events.UNKNOWN] * count for _ in range(4)))
        self.position, self.free, self.asked = ([0] * engines for _ in range(3))
        self.requests: list[Request] = []
        self.channels: dict[int, int] = {}
        self.issued, self.now = 0, 0

    def run(self) -> Times:
        moved = True
        while moved:
            moved = self.issue() or any([self.begin(e) for e in range(len(self.free))])
            moved = moved or self.grant()
        return self.times

    def ended(self, others: Sequence[int]) -> int:
        ends = [self.times.end[i] for i in others if i >= 0]
        return events.UNKNOWN if events.UNKNOWN in ends else max(ends, default=0)

    def issue(self) -> bool:
        """The next instruction, if there is room for it."""
        work, i, times = self.work, self.issued, self.times
        if i == len(work.engine):
            return False
        control, slot = work.engine[i] < 0, work.slot[i]
        room = self.ended(work.waited[i]) if control else times.begin[slot] if slot >= 0 else 0
        if room == events.UNKNOWN:
            return False
        self.now = times.issue[i] = max(self.now + work.fetch[i], room)
        if control:
            times.begin[i] = times.start[i] = times.end[i] = self.now
        self.issued += 1
        return True

    def begin(self, engine: int) -> bool:
        """The engine's next instruction, if it is there and what it waits for has ended."""
        work, times, queue = self.work, self.times, self.queues[engine]
        if self.position[engine] == len(queue):
            return False
        i = queue[self.position[engine]]
        ready, room = self.ended(work.waited[i]), self.room(engine, i)
        if events.UNKNOWN in (times.issue[i], ready, room):
            return False
        self.position[engine] += 1
        if work.channel[i] >= 0:
            begin = max(times.issue[i], ready, self.asked[engine], room)
            times.begin[i] = self.asked[engine] = begin
            self.requests.append(Request(begin, engine, i))
            return True
        times.begin[i] = max(times.issue[i], ready, self.free[engine] - work.overlap[i])
        times.start[i] = self.asked[engine] = times.begin[i]
        times.end[i] = max(times.begin[i] + work.cycles[i], self.free[engine])
        self.free[engine] = times.end[i]
        return True

    def room(self, engine: int, i: int) -> int:
        """When its engine may begin it, or ask for it, as transfers before it have come."""
        if self.work.channel[i] < 0:
            return events.UNKNOWN if any(r.engine == engine for r in self.requests) else 0
        behind = self.work.behind[i]
        if behind < 0:
            return 0
        come = self.times.end[behind]
        return come if come == events.UNKNOWN else int(come - self.work.ahead[i])

    def grant(self) -> bool:
        """The channel of the transfer whose first byte is there earliest."""
        if not self.requests:
            return False
        work = self.work
        there = {r: r.begin + work.latency[r.index] for r in self.requests}
        request = min(self.requests, key=lambda r: (there[r], r.engine, r.index))
        i, engine = request.index, request.engine
        self.requests.remove(request)
        taken = self.channels.get(work.channel[i], 0)
        start = max(there[request], taken, self.free[engine])
        end = start + work.cycles[i]
        self.times.start[i] = start
        self.times.end[i] = self.free[engine] = end
        self.channels[work.channel[i]] = start + work.held[i]
        return True


def assert_polled(t: timing.Timeline, program: programs.Program, target: Target) -> None:
    """The times of a program are those of asking again and again."""
    queues = [np.flatnonzero(t.engine == e) for e in range(len(core.ENGINES))]
    waited = timing.awaited(program, queues)
    given = timing.orders_of(program, target, t.prices, queues, waited)
    expected = Polling(given).run()
    for name in ("issue", "begin", "end"):
        assert getattr(t, name).tolist() == getattr(expected, name), name
