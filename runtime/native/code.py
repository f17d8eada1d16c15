"""Loops that cannot be vectorised as machine code, which the system's C compiler makes, once.

The sources are files of this package; each says which module computes the same without it. Whether
code pays for building is decided by how many instructions a program has and not by a clock.
Whatever is missing, a compiler or a folder that can be trusted, there is no code.
"""

import ctypes
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from . import cache

T = TypeVar("T")

BUILDING = 100_000
"""Instructions from which code that is not in the cache is built; a source takes 0.1 s, once."""

COMPILERS = ("cc", "gcc", "clang")
FLAGS = ("-std=c99", "-O2", "-shared", "-fPIC")
SECONDS = 60

Number = ctypes.c_int64
Column = ctypes.c_void_p


class Source(NamedTuple):
    """A file of a package of ours."""

    package: str
    name: str


def result(
    where: Source, count: int, run: Callable[[Any], T | None], right: Callable[[T], bool]
) -> T | None:
    """What `run` makes with the library of a source, for a program of `count` instructions; None if
    there is no library. A new one is kept if the first thing that it makes is `right`.
    """
    if os.name != "posix" or os.environ.get("DNNCC_CACHE") == "off":
        return None
    text = resources.files(where.package).joinpath(where.name).read_bytes()
    try:
        place, name = cache.folder(), cache.key(text, platform.machine(), sys.platform, *FLAGS)
        entry = cache.find(place, name)
        if entry is None and count >= BUILDING:
            return first_result(text, place, name, run, right)
        return run(loaded(entry.library)) if entry and entry.library else None
    except (cache.CacheError, OSError):
        return None


def first_result(
    text: bytes, place: Path, name: str, run: Callable[[Any], T | None], right: Callable[[T], bool]
) -> T | None:
    """By a new library. Raises OSError."""
    with tempfile.TemporaryDirectory(dir=place) as folder:
        library = Path(folder) / "library.so"
        why = compiled(text, library)
        made = None if why else run(loaded(library))
        if made is not None and not right(made):
            why, made = "its first result is wrong", None
        if why or made is not None:
            cache.add(place, name, None if why else library.read_bytes(), why)
        return made


def compiled(text: bytes, library: Path) -> str:
    """Why there is no library now, "" if there is one. Raises OSError: there is no compiler."""
    compiler = next(filter(None, map(shutil.which, COMPILERS)), None)
    if compiler is None:
        raise FileNotFoundError("no C compiler")
    path = library.with_suffix(".c")
    path.write_bytes(text)
    command = [compiler, *FLAGS, "-o", str(library), str(path)]
    try:
        status = subprocess.run(command, capture_output=True, timeout=SECONDS).returncode
    except subprocess.TimeoutExpired:
        return f"the C compiler took more than {SECONDS} s"
    return f"the C compiler ended with status {status}" if status else ""


def loaded(library: Path) -> Any:
    return ctypes.CDLL(str(library))


def address(column: npt.NDArray[Any]) -> int:
    """Of a column for C, which has to be contiguous, and held for as long as it is used."""
    assert column.flags.c_contiguous
    return column.ctypes.data


def numbers(column: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """The column as C takes it."""
    return np.ascontiguousarray(column, np.int64)
