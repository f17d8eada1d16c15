"""Times of programs that repeat themselves: a few repetitions are played, the others are shifts.

The tiles of a layer are the same instructions again and again, up to addresses, and the pipeline of
issue, queues, engines and channels soon repeats itself, too: some periods later all times are the
same but for a shift. So repetitions in the middle are left out, what is left is timed, and they are
put in again; nested loops are left out from the inside to the outside. Whether the pipeline had
really settled is not argued but checked: the times of the whole program have to obey the rules
(orders.obey), or else it is played as it is.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from dnncc.targets.events import Stuck, played
from dnncc.targets.orders import Orders, Times

from .orders import Bools, Ints, obey

LONG = 5_000
"""Programs from here on are played by machine code, if there is any; loading it takes 5 ms."""

SHORT = 20_000
"""Programs up to here are played: that takes no longer."""

FEWEST, FILLINGS = 4, (150, 4_000)
"""Repetitions that are played at least, and instructions beside, while the pipeline fills, and as
many before what comes next is felt; if they were too few, again with more."""

ROUND = 12
"""The pipeline may take up to so many repetitions to come back to the same state, as buffers take
turns."""

WORTH = 4
"""A fraction of a program; less is played sooner than it is left out."""

CANDIDATES = 64
"""Periods that are looked for."""

REFERENCES = ("waited", "slot", "behind")


class Cut(NamedTuple):
    """`number` repetitions of `period` instructions each, left out from instruction `start` on."""

    start: int
    period: int
    number: int

    @property
    def length(self) -> int:
        return self.period * self.number


def times_of(orders: Orders) -> Times:
    """The times of all instructions. Raises events.Stuck."""
    times = by_machine(orders) if len(orders.engine) >= LONG else None
    return shorter(orders) if times is None else times


def by_machine(orders: Orders) -> Times | None:
    from .native import events  # short programs do not wait for what it imports

    return events.played(orders)


def shorter(orders: Orders) -> Times:
    """As `times_of`, without machine code."""
    if len(orders.engine) > SHORT:
        signature = signatures(orders)
        for filling in FILLINGS:
            cuts = repetitions(signature, filling)
            if not worth_it(cuts, len(signature)):  # with more filling there are fewer
                break
            times = shortened(orders, cuts)
            if times is not None:
                return times
    return played(orders)


def worth_it(cuts: list[Cut], count: int) -> bool:
    """Whether enough of so many instructions is left out to pay for the search and the proof."""
    return sum(cut.length for cut in cuts) > count // WORTH


def shortened(orders: Orders, cuts: list[Cut]) -> Times | None:
    """The times, by those of the program without the cuts; None if some cuts have not settled."""
    try:
        times = shorter(without(orders, cuts))
    except Stuck:  # of what was left out, something was waited for
        return None
    steps = settled(times, cuts)
    if None in steps:
        return None
    times = put_in(times, cuts, steps)
    return times if obey(orders, times) else None


def signatures(orders: Orders) -> Ints:
    """A number per instruction: equal ones cost the same, and wait for what is as far behind them.

    Others may be equal by chance, which obey finds out.
    """
    here = np.arange(len(orders.engine))
    factors = iter(np.random.default_rng(0).integers(1 << 62, size=64) | 1)
    total = np.zeros(len(here), np.int64)
    for name, columns in orders._asdict().items():
        for column in np.atleast_2d(columns.T):
            value = np.where(column >= 0, here - column, -1) if name in REFERENCES else column
            total += value * next(factors)
    return total


def repetitions(signature: Ints, filling: int) -> list[Cut]:
    """What can be left out, in order; the shortest periods first, so that inner loops go first."""
    taken = np.zeros(len(signature), np.bool_)
    cuts: list[Cut] = []
    for period, first, end in sorted(candidates(signature)):
        kept = FEWEST + filling // period
        cuts += free_cuts(signature[first:end], kept, Cut(first, period, 0), taken[first:end])
    return sorted(cuts)


def candidates(signature: Ints) -> Iterator[tuple[int, int, int]]:
    """(period, from, to): distances from an instruction to the next one like it, and where they
    occur. Those that may be the period of most instructions."""
    order = np.argsort(signature, kind="stable")
    same = np.flatnonzero(signature[order[1:]] == signature[order[:-1]])
    place, distance = order[same], order[same + 1] - order[same]
    often = np.bincount(distance[distance <= len(signature) // FEWEST])
    covered = often * np.arange(len(often))
    ranked = np.argsort(-covered, kind="stable")[:CANDIDATES]
    by_distance = np.lexsort((place, distance))
    for period in ranked[covered[ranked] > 0].tolist():
        low, high = np.searchsorted(distance[by_distance], (period, period + 1))
        found = place[by_distance[low:high]]
        yield period, int(found[0]), int(found[-1]) + period + 1


def free_cuts(signature: Ints, kept: int, like: Cut, taken: Bools) -> Iterator[Cut]:
    """Cuts `like` one, outside of what is `taken`, which then takes them, too, with `kept`
    repetitions before and after; the signatures are those from its start on."""
    period = like.period
    alike = np.zeros(len(signature) + 1, np.bool_)
    alike[period:-1] = (signature[period:] == signature[:-period]) & ~taken[period:]
    edges = np.flatnonzero(np.diff(alike, prepend=False)).reshape(-1, 2)
    spares = (edges[:, 1] - edges[:, 0]) // period + 1 - 2 * kept
    long = np.flatnonzero(spares >= kept)
    for (first, end), spare in zip(edges[long].tolist(), spares[long].tolist(), strict=True):
        number = next((spare // n * n for n in (ROUND, 4, 2) if spare >= n), 0)
        if number >= kept:
            yield Cut(like.start + first + (kept - 1) * period, period, number)
            taken[first - period : end] = True


def without(orders: Orders, cuts: list[Cut]) -> Orders:
    """The program that is left. What was waited for and is left out is waited for as many periods
    earlier as were left out."""
    keep = np.ones(len(orders.engine), np.bool_)
    for cut in cuts:
        keep[cut.start : cut.start + cut.length] = False
    starts = np.array([cut.start for cut in cuts])
    gone = np.cumsum([0, *(cut.length for cut in cuts)])
    columns = {name: column[keep] for name, column in orders._asdict().items()}
    for name in REFERENCES:
        column = columns[name]
        nearer = np.maximum(column - gone[np.searchsorted(starts, column, side="right")], 0)
        columns[name] = np.where(column >= 0, nearer, -1)
    return Orders(**columns)


class Step(NamedTuple):
    """All times are `cycles` later after `length` instructions."""

    length: int
    cycles: int


def settled(times: Times, cuts: list[Cut]) -> list[Step | None]:
    """For each cut how the repetitions before it follow each other; None if they are not shifts."""
    gone = np.cumsum([0, *(cut.length for cut in cuts)]).tolist()
    return [shift(times, cut, cut.start - before) for cut, before in zip(cuts, gone, strict=False)]


def shift(times: Times, cut: Cut, stop: int) -> Step | None:
    for turns in (n for n in range(1, ROUND + 1) if cut.number % n == 0):
        length = turns * cut.period
        if 2 * length > stop:
            return None
        later = [t[stop - length : stop] - t[stop - 2 * length : stop - length] for t in times]
        if all((column == later[0][0]).all() for column in later):
            return Step(length, int(later[0][0]))
    return None


def put_in(times: Times, cuts: list[Cut], steps: Sequence[Step | None]) -> Times:
    """Times with the repetitions in between, as shifts of those before them."""
    return Times(*(whole(column, cuts, steps) for column in times))


def whole(column: Ints, cuts: list[Cut], steps: Sequence[Step | None]) -> Ints:
    parts: list[Ints] = []
    at = later = gone = 0
    for cut, step in zip(cuts, steps, strict=True):
        assert step is not None
        stop, number = cut.start - gone, cut.length // step.length
        kept = column[at:stop] + later
        last = column[stop - step.length : stop] + later
        shifts = step.cycles * np.arange(1, number + 1)[:, None]
        parts += [kept, (last + shifts).ravel()]
        at, later, gone = stop, later + number * step.cycles, gone + cut.length
    return np.concatenate([*parts, column[at:] + later])
