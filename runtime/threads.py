"""How many threads matrix products take.

One, unless told: two BLAS threads wait for each other where other work keeps a core busy, and then
a run takes up to 5 times as long; sums are exact, so results do not depend on it.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import cache
from typing import Any

from .errors import RunError

VARIABLES = ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS")
"""What BLAS libraries read when they are loaded, which NumPy does when it is imported."""


def before_numpy(threads: int | None) -> None:
    """Set a process's threads if NumPy is not imported yet; a user's own variables come first."""
    if threads is None and any(name in os.environ for name in VARIABLES) or "numpy" in sys.modules:
        return
    for name in VARIABLES:
        os.environ[name] = str(threads or 1)


@contextmanager
def limited(threads: int | None) -> Iterator[None]:
    """Run with so many threads; None is one, or what the user's environment says.

    Needs threadpoolctl; without it, threads are as NumPy found them in the environment, and another
    number is a RunError.
    """
    if threads is not None and threads < 1:
        raise RunError(f"{threads} threads: at least one is needed")
    wanted = threads or next((int(v) for v in settings() if v.isdecimal()), 1)
    with controlled(wanted, told=threads is not None):
        yield


def settings() -> Iterator[str]:
    """What the environment asks for, the most particular first."""
    yield from (os.environ[name] for name in VARIABLES if name in os.environ)


def controlled(threads: int, told: bool) -> Any:
    found = controller()
    if found is not None:
        return found.limit(limits=max(threads, 1), user_api="blas")
    if told and threads != next((int(v) for v in settings() if v.isdecimal()), None):
        raise RunError(
            f"{threads} threads: install threadpoolctl, or set {VARIABLES[0]} before NumPy starts"
        )
    return nullcontext()


@cache
def controller() -> Any:
    """Of the BLAS library that is loaded; None without threadpoolctl."""
    try:
        from threadpoolctl import ThreadpoolController
    except ImportError:
        return None
    return ThreadpoolController()
