"""When each instruction is issued, begins and ends: the event loop, on plain lists.

Engines, queues, waits and DRAM channels are all that it knows; prices come from outside. Times are
cycles. The issue unit and each engine is a coroutine that runs as far as times are known, then
yields what it waits for and is woken by whoever finds that out. What a coroutine needs of its
instructions comes in columns that it goes through once, and "no instruction" is one whose time is
0, so that it needs no question.
"""

from collections.abc import Generator, Iterator, Sequence
from heapq import heappop, heappush
from itertools import islice
from typing import Any

import numpy as np

from .orders import Orders, Times

UNKNOWN = -1

Unit = Generator[int, None, None]
"""Yields keys: i for the end of instruction i, count + 1 + i for its begin, -1 - i for its
issue."""


class Stuck(Exception):
    """Nothing can go on at `cycle`. `heads` are, per engine with work, its number, its next
    instruction and those without an end that it waits for; `issue` is where issue stopped."""

    def __init__(
        self, cycle: int, heads: Sequence[tuple[int, int, list[int]]], issue: int | None
    ) -> None:
        super().__init__(f"no progress at cycle {cycle}: {heads}, issue at {issue}")
        self.cycle, self.heads, self.issue = cycle, heads, issue


def played(orders: Orders) -> Times:
    """The times of all instructions. Raises Stuck if nothing can go on: no legal program causes
    it."""
    clock = Clock(orders)
    clock.run()
    begin, end = (np.array(t[:-1], np.int64) for t in (clock.begin, clock.end))
    start = np.array(clock.start, np.int64)
    return Times(np.array(clock.issue, np.int64), begin, np.where(start < 0, begin, start), end)


class Clock:
    """The state of the loop, and its result: times per instruction.

    `begin` is when an instruction leaves its queue (a DMA sends its request), `start`, of transfers
    only, when the first byte moves. `begin` and `end` have one more element, of no instruction.
    Units wait by instruction in `for_issue`, `for_begin` and `for_end`; `woken` are those that can
    go on; `requests` are transfers that no channel has been given to, as numbers that sort by when
    their first byte is there, then by engine, then by instruction. Transfers of an engine have one
    latency, so that they stay in order.
    """

    def __init__(self, orders: Orders) -> None:
        self.orders, self.queues = orders, orders.queues()
        self.count = count = len(orders.engine)
        self.issue, self.start = [UNKNOWN] * count, [UNKNOWN] * count
        self.begin, self.end = [*[UNKNOWN] * count, 0], [*[UNKNOWN] * count, 0]
        self.free = [0] * len(self.queues)
        self.for_issue: dict[int, Unit] = {}
        self.for_begin: dict[int, Unit] = {}
        self.for_end: dict[int, list[Unit]] = {}
        self.requests: list[int] = []
        self.woken: list[Unit] = [self.unit(number) for number in range(len(self.queues))]
        self.woken.append(self.issuer())

    def unit(self, number: int) -> Unit:
        moves = self.orders.channel[self.queues[number]] >= 0
        return self.moving(number) if moves.any() else self.computing(number)

    def run(self) -> None:
        """Time everything. Raises Stuck."""
        woken, requests, count, for_end = self.woken, self.requests, self.count, self.for_end
        grant = self.granting().__next__
        while woken or requests:
            if not woken:
                grant()
                continue
            unit = woken.pop()
            need = next(unit, count)
            if need < 0:
                self.for_issue[-1 - need] = unit
            elif need > count:
                self.for_begin[need - count - 1] = unit
            elif need in for_end:
                for_end[need].append(unit)
            elif need < count:
                for_end[need] = [unit]
        if UNKNOWN in self.end:
            raise self.blocked()

    def issuer(self) -> Unit:
        """Issue in program order; a full queue holds everything up, and control instructions wait
        here."""
        count, issue, begin, end = self.count, self.issue, self.begin, self.end
        for_issue, woken, now, done = self.for_issue, self.woken, 0, 0
        slots, fetches = self.orders.slot.tolist(), self.orders.fetch.tolist()
        rows = zip(range(count), slots, fetches, strict=True)
        for control in [*np.flatnonzero(self.orders.engine < 0).tolist(), count]:
            for i, slot, fetch in islice(rows, control - done):
                now += fetch
                room = begin[slot]
                if room < 0:
                    yield count + 1 + slot
                    room = begin[slot]
                if room > now:
                    now = room
                issue[i] = now
                if i in for_issue:
                    woken.append(for_issue.pop(i))
            for i, _, fetch in islice(rows, 1):
                now += fetch
                for other in self.waits(i):
                    if end[other] < 0:
                        yield other
                    now = max(now, end[other])
                issue[i] = begin[i] = end[i] = now
                woken += self.for_end.pop(i, ())
            done = control + 1

    def waits(self, i: int) -> list[int]:
        return [other for other in self.orders.waited[i].tolist() if other >= 0]

    def computing(self, number: int) -> Unit:
        """Begin the engine's instructions in order, each when it is issued, what it waits for has
        ended, and the engine is free."""
        issue, begin, end, woken = self.issue, self.begin, self.end, self.woken
        for_begin, for_end, free = self.for_begin, self.for_end, 0
        for i, cycles, overlap, waits in self.columns(number, "cycles", "overlap"):
            ready = issue[i]
            if ready < 0:
                yield -1 - i
                ready = issue[i]
            for other in waits:
                ended = end[other]
                if ended < 0:
                    yield other
                    ended = end[other]
                if ended > ready:
                    ready = ended
            if free - overlap > ready:
                ready = free - overlap
            begin[i] = ready
            ready += cycles
            if ready > free:
                free = ready
            end[i] = free
            if i in for_begin:
                woken.append(for_begin.pop(i))
            if i in for_end:
                woken += for_end.pop(i)

    def moving(self, number: int) -> Unit:
        """As `computing`; a transfer asks for its channel, and the engine goes on.

        `asked` is when the last request went out, `pending` the last transfer, whose data must have
        come before something else than a transfer begins.
        """
        issue, begin, end, woken = self.issue, self.begin, self.end, self.woken
        for_begin, for_end, requests = self.for_begin, self.for_end, self.requests
        count, engines, free, asked, pending = self.count, len(self.queues), self.free, 0, -1
        names = ("channel", "latency", "behind", "ahead", "cycles", "overlap")
        for i, channel, latency, behind, ahead, cycles, overlap, waits in self.columns(
            number, *names
        ):
            ready = issue[i]
            if ready < 0:
                yield -1 - i
                ready = issue[i]
            for other in waits:
                ended = end[other]
                if ended < 0:
                    yield other
                    ended = end[other]
                if ended > ready:
                    ready = ended
            if channel >= 0:
                if end[behind] < 0:
                    yield behind
                asked = max(asked, ready, end[behind] - ahead)
                begin[i] = asked
                heappush(requests, ((asked + latency) * engines + number) * count + i)
                pending = i
            else:
                if end[pending] < 0:
                    yield pending
                last = max(free[number], end[pending])
                begin[i] = asked = max(ready, last - overlap)
                end[i] = free[number] = max(asked + cycles, last)
                if i in for_end:
                    woken += for_end.pop(i)
            if i in for_begin:
                woken.append(for_begin.pop(i))

    def columns(self, number: int, *names: str) -> Iterator[Any]:
        """Row by row: the engine's instructions, those columns of them, and what they wait for; -1
        stands for nothing."""
        queue = self.queues[number]
        columns = [getattr(self.orders, name)[queue].tolist() for name in names]
        waits = np.sort(self.orders.waited[queue], axis=1)[:, ::-1]
        waits = waits[:, : max(int((waits >= 0).sum(axis=1).max(initial=0)), 1)]
        others = zip(*waits.T.tolist(), strict=True)
        return zip(queue.tolist(), *columns, others, strict=True)

    def granting(self) -> Generator[None, None, None]:
        """Give a channel to the transfer whose first byte is there earliest, again and again.

        Whatever is still blocked waits for data of a pending transfer, so that it cannot be there
        earlier than the earliest one: granting that is what would happen in order of time.
        """
        orders, begin, start, end, free = self.orders, self.begin, self.start, self.end, self.free
        engine, channel, latency = (
            c.tolist() for c in (orders.engine, orders.channel, orders.latency)
        )
        held, cycles = orders.held.tolist(), orders.cycles.tolist()
        taken = [0] * (max(channel, default=0) + 1)
        while True:
            i = heappop(self.requests) % self.count
            at = max(begin[i] + latency[i], taken[channel[i]], free[engine[i]])
            start[i] = at
            taken[channel[i]] = at + held[i]
            end[i] = free[engine[i]] = at + cycles[i]
            if i in self.for_end:
                self.woken += self.for_end.pop(i)
            yield

    def blocked(self) -> Stuck:
        """What each engine waits for."""
        end = self.end
        stopped = [[i for i in queue.tolist() if end[i] == UNKNOWN][:1] for queue in self.queues]
        heads = [
            (engine, i, [other for other in self.waits(i) if end[other] == UNKNOWN])
            for engine, rest in enumerate(stopped)
            for i in rest
        ]
        issue = self.issue.index(UNKNOWN) if UNKNOWN in self.issue else None
        return Stuck(max(end), heads, issue)
