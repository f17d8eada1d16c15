"""Watching a run for what the hardware would hide.

What can be known before a run is proved by verification.py. Here an instruction that is executed
must touch only what it declares, in an order that its waits allow, and read only what was written.
"""

from collections.abc import Sequence

from dnncc.isa import core

from .errors import SanitizerError
from .findings import Finding
from .machine import Machine
from .shadow import Shadow
from .verification import Verification, unwritten_finding

NOTHING = -1


class Sanitizer:
    """An Observer. Raises SanitizerError at the first instruction that does wrong."""

    def __init__(self, about: Verification) -> None:
        self.about = about
        self.engines = about.clocks.engine.tolist()
        self.known = about.clocks.known.tolist()
        found = about.accesses
        self.spans = list(
            zip(*(c.tolist() for c in (found.memory, found.start, found.stop)), strict=True)
        )

    def begin(self, machine: Machine) -> None:
        about = self.about
        self.shadow = Shadow(about.accesses, about.image, about.program.count)
        self.retired = [0] * len(core.ENGINES)
        self.now, self.machine = NOTHING, machine
        machine.guard = self.check_view

    def before(self, index: int) -> None:
        self.now = index
        known = zip(core.ENGINES, self.known[index], self.retired, strict=True)
        for name, needed, retired in known:
            if retired < needed:
                text = f"{self.name(index)} begins when {retired} of {name} have retired"
                self.fail("wait", f"{text}, not {needed}")
        for missing in self.shadow.step(index):
            raise SanitizerError(
                [unwritten_finding(missing, self.about.accesses, self.about.listing)]
            )

    def after(self, index: int) -> None:
        if self.engines[index] >= 0:
            self.retired[self.engines[index]] += 1
        self.now = NOTHING

    def end(self) -> None:
        self.machine.guard = None
        self.now = NOTHING

    def check_view(
        self, memory: int, offset: int, shape: Sequence[int], strides: Sequence[int], element: int
    ) -> None:
        """A view is of one of the regions that the present instruction declares."""
        if self.now == NOTHING or not all(shape):
            return
        stop = offset + sum((d - 1) * s for d, s in zip(shape, strides, strict=True)) + element
        for row in range(*self.shadow.ends[self.now : self.now + 2]):
            held, first, last = self.spans[row]
            if held == memory and first <= offset and stop <= last:
                return
        place = self.about.listing.place(memory, offset, stop, self.now)
        self.fail("undeclared", f"{self.name(self.now)} touches {place}, which it does not declare")

    def name(self, index: int) -> str:
        return self.about.listing.instruction(index)

    def fail(self, check: str, text: str) -> None:
        raise SanitizerError([Finding(check, text, (self.now,))])
