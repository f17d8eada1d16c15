"""The event loop as machine code, of targets/events.c: 0.06 us an instruction, of 2."""

import ctypes
from typing import Any

import numpy as np
import numpy.typing as npt

from dnncc.targets.orders import Ints, Orders, Times

from ..orders import obey
from .code import Column, Number, Source, address, numbers, result

UNKNOWN, NONE = -1, -1


class Unit(ctypes.Structure):
    """`struct unit` of events.c."""

    _fields_ = [(name, Number) for name in ("next", "stop", "granting", "asked", "pending", "free")]


class Clock(ctypes.Structure):
    """`struct clock` of events.c."""

    _fields_ = [
        *((name, Number) for name in ("count", "engines", "issued", "now")),
        *((name, Column) for name in (*Orders._fields, *Times._fields)),
        ("queue", Column),
        ("units", ctypes.POINTER(Unit)),
        ("taken", Column),
    ]


def played(orders: Orders) -> Times | None:
    """The times of all instructions, as events.played finds them; None where there is no code, and
    of a program that is stuck."""
    return result(
        Source("dnncc.targets", "events.c"),
        len(orders.engine),
        lambda library: run(library, orders),
        lambda times: obey(orders, times),
    )


def run(library: Any, orders: Orders) -> Times | None:
    """What the code finds; None if the program is stuck."""
    engine, waited, *others = orders
    columns: list[npt.NDArray[Any]] = [numbers(column) for column in (engine, *others)]
    columns.insert(1, np.ascontiguousarray(waited.T, np.int32))
    times = Times(*np.full((len(Times._fields), len(orders.engine)), UNKNOWN, np.int64))
    queues = orders.queues()
    queue, taken = np.concatenate(queues), np.zeros(int(orders.channel.max()) + 1, np.int64)
    clock = Clock(len(orders.engine), len(queues), 0, 0, *map(address, (*columns, *times, queue)))
    clock.units, clock.taken = units(queues), address(taken)
    return times if library.play(ctypes.byref(clock)) else None


def units(queues: list[Ints]) -> Any:
    stops = np.cumsum([len(queue) for queue in queues]).tolist()
    starts = [0, *stops[:-1]]
    each = (Unit(a, b, a, 0, NONE, 0) for a, b in zip(starts, stops, strict=True))
    return (Unit * len(queues))(*each)
