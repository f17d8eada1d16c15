"""The event loop as machine code, which the system's C compiler makes of targets/events.c, once.

In Python an instruction takes 2 us, here 0.06. Whether that pays for building is decided by how
many there are and not by a clock. Whatever is missing, a compiler, a folder that can be trusted, or
a way for the program to go on, targets/events.py is always there.
"""

import ctypes
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from dnncc.targets.orders import Ints, Orders, Times

from ..orders import obey
from . import cache

BUILDING = 100_000
"""Instructions from which code that is not in the cache is built; that takes 0.2 s, once."""

COMPILERS = ("cc", "gcc", "clang")
FLAGS = ("-std=c99", "-O2", "-shared", "-fPIC")
SECONDS = 60

Number = ctypes.c_int64
Column = ctypes.c_void_p
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
    if os.environ.get("DNNCC_CACHE") == "off":
        return None
    try:
        place, name = cache.folder(), cache.key(source(), platform.machine(), sys.platform, *FLAGS)
        entry = cache.find(place, name)
        if entry is None and len(orders.engine) >= BUILDING:
            return first_played(orders, place, name)
        return run(entry.library, orders) if entry and entry.library else None
    except (cache.CacheError, OSError):
        return None


def source() -> bytes:
    return resources.files("dnncc.targets").joinpath("events.c").read_bytes()


def first_played(orders: Orders, place: Path, name: str) -> Times | None:
    """By new code, which is kept if its times obey the rules. Raises OSError."""
    with tempfile.TemporaryDirectory(dir=place) as folder:
        library = Path(folder) / "events.so"
        why = compiled(library)
        times = None if why else run(library, orders)
        if times is not None and not obey(orders, times):
            why, times = "its times are wrong", None
        if why or times is not None:
            cache.add(place, name, None if why else library.read_bytes(), why)
        return times


def compiled(library: Path) -> str:
    """Why there is no library now, "" if there is one. Raises OSError: there is no compiler."""
    compiler = next(filter(None, map(shutil.which, COMPILERS)), None)
    if compiler is None:
        raise FileNotFoundError("no C compiler")
    path = library.with_suffix(".c")
    path.write_bytes(source())
    command = [compiler, *FLAGS, "-o", str(library), str(path)]
    try:
        status = subprocess.run(command, capture_output=True, timeout=SECONDS).returncode
    except subprocess.TimeoutExpired:
        return f"the C compiler took more than {SECONDS} s"
    return f"the C compiler ended with status {status}" if status else ""


def run(library: Path, orders: Orders) -> Times | None:
    """What the code finds; None if the program is stuck. Raises OSError."""
    play = ctypes.CDLL(str(library)).play
    columns = [np.ascontiguousarray(column, np.int64) for column in orders]
    times = Times(*np.full((len(Times._fields), len(orders.engine)), UNKNOWN, np.int64))
    queues = orders.queues()
    queue, taken = np.concatenate(queues), np.zeros(int(orders.channel.max()) + 1, np.int64)
    clock = Clock(len(orders.engine), len(queues), 0, 0, *map(address, (*columns, *times, queue)))
    clock.units, clock.taken = units(queues), address(taken)
    return times if play(ctypes.byref(clock)) else None


def units(queues: list[Ints]) -> Any:
    stops = np.cumsum([len(queue) for queue in queues]).tolist()
    starts = [0, *stops[:-1]]
    each = (Unit(a, b, a, 0, NONE, 0) for a, b in zip(starts, stops, strict=True))
    return (Unit * len(queues))(*each)


def address(column: Ints) -> int:
    return column.ctypes.data
