"""Which steps stand earlier in program order than their loops say.

Engines take instructions in order. The lanes prepare the next tile of an input before they finish
what the array made of this one, or the array would wait for both; so that tile is loaded, too.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np

from ..ir.tile import Compute, Load, Nest, Step, Unrolled, unroll

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
