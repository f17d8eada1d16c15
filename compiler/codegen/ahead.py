"""Which steps stand earlier in program order than their loops say.

Engines take instructions in order. The lanes prepare the next tile of an input before they finish
what the array made of this one, or the array would wait for both; so that tile is loaded, too.
Issue is in order and queues are short: a load that stands where its tile is used may be issued
when other queues have room again, long after its slot is free. So it stands where that is.
Tiles that are prefetched are loaded among the steps of an earlier nest, spread evenly, as its own
loads must not wait for all of them at once.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from math import prod
from typing import Any

import numpy as np
from msgspec.structs import replace

from dnncc.targets import Target

from ..ir.tile import Buffer, Compute, Load, Nest, Step, Store, Unrolled, slot_index, steps, unroll

LOADED, PREPARED = 0.25, 0.5
"""Behind the one that it follows."""


def in_order(nest: Nest, target: Target) -> Iterable[Unrolled]:
    """Each step of the nest with every iteration at once, and their places."""
    items = list(unroll(nest))
    slots = {buffer.name: buffer.slots for buffer in nest.buffers}
    inputs = {buffer.name for buffer in nest.buffers if buffer.kind == "ifmap"}
    moved = [item for item in items if prepared(item.step) in inputs]
    for made in moved:
        used = {prepared(made.step), source(made.step)} - {""}  # what is resident is there
        if all(slots[name] > 1 for name in used):
            places = {id(made): PREPARED}
            places |= {id(i): LOADED for i in items if loads(i.step, source(made.step))}
            items = [earlier(i, made.order, places[id(i)]) if id(i) in places else i for i in items]
    early = [load for load in alone(nest, target) if all(once(load, i.step, items) for i in moved)]
    return [hoisted(i, slots) if isinstance(i.step, Load) and i.step in early else i for i in items]


def once(load: Load, made: Step, items: Iterable[Unrolled]) -> bool:
    """Whether what a step that stands earlier is made from is for it alone."""
    if not loads(load, source(made)):
        return True
    steps_of_it = (i.step for i in items if isinstance(i.step, Compute))
    buffer = load.out.buffer
    return [s for s in steps_of_it if buffer in (o.buffer for o in s.operands.values())] == [made]


def alone(nest: Nest, target: Target) -> list[Load]:
    """Loads into slots that nothing else on their engine could have to wait behind."""
    buffers = {buffer.name: buffer for buffer in nest.buffers}
    moves: dict[str, list[Load | Store]] = {}
    for step in steps(nest.body):
        if isinstance(step, Store):
            moves.setdefault(target.store_engine("ofmap").name, []).append(step)
        elif isinstance(step, Load):
            kind: Any = buffers[step.out.buffer].kind
            moves.setdefault(target.load_engine(kind).name, []).append(step)
    lone = [some[0] for some in moves.values() if len(some) == 1]
    return [x for x in lone if isinstance(x, Load) and not buffers[x.out.buffer].ring]


def hoisted(item: Unrolled, slots: Mapping[str, int]) -> Unrolled:
    """Each load as soon as the tile before it in its slot is done with."""
    assert isinstance(item.step, Load)
    slot = slot_index(item.step.out, slots[item.step.out.buffer], item.env)
    slot = np.broadcast_to(slot, item.order.shape)
    by_slot = np.argsort(slot, kind="stable")
    before = np.full(len(slot), -1)
    same = slot[by_slot[1:]] == slot[by_slot[:-1]]
    before[by_slot[1:][same]] = by_slot[:-1][same]
    return replace(item, order=item.order[before + 1])


def prepared(step: Step) -> str:
    """The buffer that a step's result is in; "" if it has none."""
    operands = step.operands if isinstance(step, Compute) else {}
    return operands["out"].buffer if "out" in operands else ""


def source(step: Step) -> str:
    """The buffer that it is made from."""
    return step.operands["x"].buffer if isinstance(step, Compute) else ""


def loads(step: Step, buffer: str) -> bool:
    return isinstance(step, Load) and step.out.buffer == buffer != ""


def earlier(item: Unrolled, order: Any, behind: float) -> Unrolled:
    """Each iteration but the first behind the one before, of those in `order`."""
    return replace(item, order=np.concatenate((item.order[:1], order[:-1] + behind)))


def brought_forward(
    items: Iterable[Unrolled], buffers: Mapping[str, Buffer], starts: Sequence[int]
) -> Iterator[Unrolled]:
    """The steps of the last nest, with their places in the program: `starts` are those of the nests
    up to it, and its end."""
    for item in items:
        order = item.order + starts[-2]
        step = item.step
        buffer = buffers.get(step.out.buffer) if isinstance(step, Load) else None
        if isinstance(step, Load) and buffer and buffer.ahead:
            number = slot_index(step.out, prod(item.env[v].trips for v in step.out.slots), item.env)
            begin, end = starts[-2 - buffer.ahead : len(starts) - buffer.ahead]
            place = begin + (end - begin) * (number + 1) / (buffer.slots + 1)
            order = np.where(number < buffer.slots, place, order)
        yield replace(item, order=order)
