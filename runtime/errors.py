"""What goes wrong with a binary or a run and is not a bug of ours."""

from collections.abc import Sequence
from typing import Any


class RunError(ValueError):
    """A binary that cannot be loaded, or inputs that it cannot run on; the text is one line."""


class SanitizerError(RunError):
    """What is wrong with a program that was to run; the text is the first of `findings`, and
    `source` the program's file."""

    def __init__(self, findings: Sequence[Any]) -> None:
        more = f" (and {len(findings) - 1} more)" if len(findings) > 1 else ""
        super().__init__(f"{findings[0]}{more}")
        self.findings = findings
        self.source = "model"


class TimingError(RunError):
    """The model of time cannot go on; names the engine and the instruction that block it."""
