"""How a command ends: its exit status, and one line on stderr for what went wrong."""

from __future__ import annotations

import atexit
import gc
import os
import sys
from collections.abc import Callable, Sequence

FAILED, BUG, INTERRUPTED = 1, 70, 130

NEW_OBJECTS = 100_000
"""Between two searches for cycles of objects: a command makes many objects at once and keeps them,
and nothing in cycles that is large."""

Told = Callable[[Exception], Sequence[str]]
"""The lines that tell an error which the user can mend; none if it is a bug of ours."""


def finish(run: Callable[[], int | None], told: Told, verbose: bool = False) -> int:
    """Run a command; its exit status. `verbose` prints tracebacks, too."""
    gc.set_threshold(NEW_OBJECTS)
    atexit.register(gc.freeze)  # the last search, at the very end, would be a tenth of a short run
    try:
        status = run()
        sys.stdout.flush()
        return status or 0
    except BrokenPipeError:  # whoever reads our output has gone, as `| head` does
        sys.stdout = sys.stderr = open(os.devnull, "w")
        return FAILED
    except KeyboardInterrupt:
        print("error: interrupted", file=sys.stderr)
        return INTERRUPTED
    except Exception as error:
        return failed(error, told, verbose)


def failed(error: Exception, told: Told, verbose: bool) -> int:
    if verbose:
        import traceback

        traceback.print_exc()
    lines = told(error) or everyones(error)
    for line in lines:
        print(f"error: {line}", file=sys.stderr)
    if lines:
        return FAILED
    what = " ".join(f"{type(error).__name__}: {error}".split())
    print(f"internal error: {what}{remedy(error)}", file=sys.stderr)
    return BUG


def everyones(error: Exception) -> Sequence[str]:
    """What the machine is to blame for, whatever the command."""
    if isinstance(error, OSError):
        what = error.strerror or str(error)
        return [what if error.filename is None else f"{error.filename}: {what}"]
    return ["there is not enough memory"] if isinstance(error, MemoryError) else []


def remedy(error: Exception) -> str:
    """What to do about a bug: notes on the error, or where it is."""
    notes = getattr(error, "__notes__", ())
    return "; ".join(("", *notes)) if notes else "; -v shows where; please report it"
