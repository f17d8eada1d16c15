"""Which passes run: --disable-pass, -O and --opt-bisect-limit."""

import sys
from collections.abc import Collection

from ..passes.pipeline import Pass
from .observer import Observer


class Selection(Observer):
    """Leaves out the passes in `omitted`, and all that are optional after the first `limit`."""

    def __init__(self, omitted: Collection[str], limit: int | None = None) -> None:
        self.omitted, self.limit = omitted, limit
        self.count = 0

    def should_run(self, step: Pass) -> bool:
        if step.name in self.omitted:
            return False
        if self.limit is None:
            return True
        self.count += 1
        runs = self.count <= self.limit
        what = "running" if runs else "NOT running"
        print(f"BISECT: {what} pass ({self.count}) {step.name}", file=sys.stderr)
        return runs
