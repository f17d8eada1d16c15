"""Which steps stand earlier in program order than their loops say.

Engines take instructions in order. The lanes prepare the next tile of an input before they finish
what the array made of this one, or the array would wait for both; so that tile is loaded, too.
Constants that are filled ahead are loaded among the steps of an earlier nest, spread evenly, as its
own loads must not wait for all of them at once.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from math import prod
from typing import Any

import numpy as np

from ..ir.tile import Buffer, Compute, Load, Nest, Step, Unrolled, slot_index, unroll

LOADED, PREPARED = 0.25, 0.5
"""Behind the one that it follows."""


def in_order(nest: Nest) -> Iterable[Unrolled]:
    """Each step of the nest with every iteration at once, and their places."""
    items = list(unroll(nest))
    slots = {buffer.name: buffer.slots for buffer in nest.buffers}
    inputs = {buffer.name for buffer in nest.buffers if buffer.kind == "ifmap"}
    for made in [item for item in items if prepared(item.step) in inputs]:
        used = {prepared(made.step), source(made.step)} - {""}  # what is resident is there
        if all(slots[name] > 1 for name in used):
            places = {id(made): PREPARED}
            places |= {id(i): LOADED for i in items if loads(i.step, source(made.step))}
            items = [earlier(i, made.order, places[id(i)]) if id(i) in places else i for i in items]
    return items


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
    return item._replace(order=np.concatenate((item.order[:1], order[:-1] + behind)))


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
        yield item._replace(order=order)
