"""Loops of a nest in parts: before a cut, tiles of some operands are used where they lie."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import pairwise

from msgspec import Struct
from msgspec.structs import replace

from .heads import Cut
from .tile import Compute, Load, Loop, Nest, Operand, Step, Store

Path = tuple[Loop, ...]
Body = tuple[Loop | Step, ...]


class Kept(Struct, frozen=True):
    """Operands of a `tensor` in a `buffer`: up to `place` they are in the tensor's head, without
    loads; up to `unstored`, without stores."""

    buffer: str
    tensor: str
    place: Cut
    unstored: Cut | None = None


class Here(Struct, frozen=True):
    """What is true in a part of a nest: buffers and tensors of operands in place, and of results
    that are not stored."""

    place: frozenset[tuple[str, str]]
    unstored: frozenset[tuple[str, str]]

    @classmethod
    def of(cls, kept: Sequence[Kept], holds: Callable[[Cut], bool]) -> Here:
        place = (k for k in kept if holds(k.place))
        unstored = (k for k in kept if k.unstored and holds(k.unstored))
        return cls(*(frozenset((k.buffer, k.tensor) for k in some) for some in (place, unstored)))

    def also(self, more: Here) -> Here:
        return Here(self.place | more.place, self.unstored | more.unstored)


def moves(body: Body, path: Path = ()) -> Iterator[tuple[Path, Load | Store]]:
    """All loads and stores, with the loops around them."""
    for item in body:
        if isinstance(item, Loop):
            yield from moves(item.body, (*path, item))
        elif isinstance(item, Load | Store):
            yield path, item


def split(nest: Nest, kept: Sequence[Kept]) -> Nest:
    """With loads and stores only where they are needed."""
    if not kept:
        return nest
    loops = set(variables(nest.body))
    whole = Here.of(kept, lambda cut: cut.var not in loops)  # of one iteration, or ALL
    return replace(nest, body=tuple(parts(nest.body, kept, whole)))


def variables(body: Body) -> Iterator[str]:
    for item in body:
        if isinstance(item, Loop):
            yield item.var
            yield from variables(item.body)


def parts(body: Body, kept: Sequence[Kept], here: Here) -> Iterator[Loop | Step]:
    """A loop becomes one per part in which something else is true; empty ones are left out."""
    for item in body:
        if not isinstance(item, Loop):
            yield from filter(None, [placed(item, here)])
            continue
        for begin, end in pairwise(edges(item, kept)):
            more = Here.of(kept, partial(is_before, item.var, end))
            if inside := tuple(parts(item.body, kept, here.also(more))):
                whole = (begin, end) == (item.begin, item.stop)
                part = replace(item, body=inside)
                yield part if whole else replace(part, begin=begin, end=end)


def edges(loop: Loop, kept: Sequence[Kept]) -> list[int]:
    """Where its parts begin, and where it ends."""
    cuts = [cut for k in kept for cut in (k.place, k.unstored) if cut and cut.var == loop.var]
    inner = {cut.stop for cut in cuts if loop.begin < cut.stop < loop.stop}
    return sorted({loop.begin, loop.stop, *inner})


def is_before(var: str, end: int, cut: Cut) -> bool:
    return cut.var == var and end <= cut.stop


def placed(step: Step, here: Here) -> Step | None:
    """A step whose operands are used where they lie, if it is needed."""
    if isinstance(step, Load):
        return None if key(step.out) in here.place else step
    if isinstance(step, Store):
        return None if key(step.source) in here.unstored else Store(lying(step.source, here))
    if isinstance(step, Compute):
        return replace(step, operands={n: lying(o, here) for n, o in step.operands.items()})
    return step


def key(operand: Operand) -> tuple[str, str]:
    return operand.buffer, operand.tensor


def lying(operand: Operand, here: Here) -> Operand:
    if key(operand) not in here.place:
        return operand
    return replace(operand, buffer="", slots=(), whole=False, held=())
