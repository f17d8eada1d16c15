"""--budget wherever the compiler is, in a library, say: an alarm ends what no pass can."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from math import inf
from types import TracebackType

GRACE = 0.3
"""Seconds after which the alarm rings: passes that look at the clock say more of where they are."""

LONGEST = 1e8


class OutOfTime(BaseException):
    """Not an Exception: whoever takes those for faults of a model must not take this for one."""


@contextmanager
def limited(seconds: float) -> Iterator[None]:
    """Raises CompileError when the time is up. Alarms ring in main threads, and not on all systems;
    elsewhere only the passes look at the clock."""
    main = threading.current_thread() is threading.main_thread()
    if seconds == inf or not main or not hasattr(signal, "setitimer"):
        yield
        return
    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, min(seconds + GRACE, LONGEST))
    try:
        yield
    except OutOfTime as error:
        raise used_up(seconds, error.__traceback__) from None
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, before)


def ring(number: int, frame: object) -> None:
    raise OutOfTime


def used_up(seconds: float, trace: TracebackType | None) -> Exception:
    from .diagnostics import CompileError

    hint = "give a larger --budget, or a lower -O"
    return CompileError(
        f"the budget of {seconds:g} s is used up in {last_of_ours(trace)}", hint=hint
    )


def last_of_ours(trace: TracebackType | None) -> str:
    """The innermost module of dnncc's, but for this one."""
    names = list[str]()
    while trace is not None:
        names.append(str(trace.tb_frame.f_globals.get("__name__", "")))
        trace = trace.tb_next
    ours = [n for n in names if n.startswith("dnncc.") and n != __name__]
    return ours[-1] if ours else "dnncc"
