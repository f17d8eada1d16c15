"""Searches ask the array's model about tiles; it answers many at once far quicker than one by one.

So a search is a generator: it yields tiles, and is sent their phases under the parameters that are
best for them. One search is answered alone, the searches of a network side by side.
"""

from collections.abc import Generator, Iterable, Iterator, Sequence
from typing import Any, TypeVar

import numpy as np

from dnncc.targets import Target, dataflow

from .space import Ints

T = TypeVar("T")
Asking = Generator[dataflow.Work, dataflow.Phases, T]

Known = dict[bytes | tuple[Any, ...], list[int]]
"""Phases of tiles, by their sizes as bytes: layers of a network have many tiles in common. And the
fewest cycles of layers, by their problems (bound.py)."""

AT_ONCE = 32
"""Searches side by side: each has all its candidates in memory."""


def alone(asking: Asking[T], target: Target, fixed: Ints | None = None) -> T:
    """The result of one search; `fixed` are array parameters that are given."""
    model = dataflow.model(target)
    try:
        work = next(asking)
        while True:
            params = model.choose(target, work, fixed)
            work = asking.send(model.phases(target, work, params))
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]


def together(askings: Iterable[Asking[T]], target: Target, known: Known | None = None) -> list[T]:
    """Their results, in the order given. What one of them raises ends all. What the array's model
    says is added to `known`, and not asked again."""
    known = {} if known is None else known
    results: dict[int, T] = {}
    waiting: dict[int, tuple[Asking[T], dataflow.Work]] = {}
    fresh = enumerate(askings)
    while begin(fresh, waiting, results):
        open_, waiting = waiting, {}
        answers = phases_of(target, [work for _, work in open_.values()], known)
        for (number, (asking, _)), phases in zip(open_.items(), answers, strict=True):
            go_on(number, asking, phases, waiting, results)
    return [results[number] for number in sorted(results)]


def begin(
    fresh: Iterator[tuple[int, Asking[T]]],
    waiting: dict[int, tuple[Asking[T], dataflow.Work]],
    results: dict[int, T],
) -> bool:
    """As many as there is room for; whether there is a question."""
    while len(waiting) < AT_ONCE:
        number, asking = next(fresh, (0, None))
        if asking is None:
            break
        go_on(number, asking, None, waiting, results)
    return bool(waiting)


def go_on(
    number: int,
    asking: Asking[T],
    answer: dataflow.Phases | None,
    waiting: dict[int, tuple[Asking[T], dataflow.Work]],
    results: dict[int, T],
) -> None:
    """Up to its next question, or its end."""
    try:
        waiting[number] = asking, next(asking) if answer is None else asking.send(answer)
    except StopIteration as end:
        results[number] = end.value


def phases_of(
    target: Target, works: Sequence[dataflow.Work], known: Known
) -> list[dataflow.Phases]:
    """Of several rows of tiles, each in its shape."""
    tables = [work.table() for work in works]
    tiles = np.concatenate([t.reshape(-1, t.shape[-1]) for t in tables])
    raw, size = tiles.tobytes(), tiles.itemsize * tiles.shape[-1]
    keys = [raw[begin : begin + size] for begin in range(0, len(raw), size)]
    fresh = np.flatnonzero([key not in known for key in keys])
    if len(fresh):
        answers = asked(target, dataflow.Work.from_table(tiles[fresh]))
        known.update(zip([keys[i] for i in fresh], answers.tolist(), strict=True))
    phases = np.array([known[key] for key in keys], np.int64).reshape(len(keys), -1)
    ends = np.cumsum([t[..., 0].size for t in tables])[:-1]
    parts = zip(tables, np.split(phases, ends), strict=True)
    return [dataflow.Phases(*np.moveaxis(p.reshape(*t.shape[:-1], -1), -1, 0)) for t, p in parts]


def asked(target: Target, tiles: dataflow.Work) -> Ints:
    """The phases of each tile under its best parameters, int64[tiles, 4]."""
    model = dataflow.model(target)
    return np.stack(model.phases(target, tiles, model.choose(target, tiles)), axis=-1)
