"""Watching a run for what the hardware would hide.

What can be known before a run is proved by verification.py. Here an instruction that is executed
must touch only what it declares, in an order that its waits allow, and read only what was written.
Where it is plain who writes what is read (handovers.py), the order alone decides that; the shadow
of memory is of the rest.
"""

from collections.abc import Sequence
from operator import gt

import numpy as np

from dnncc.isa import core

from .errors import SanitizerError
from .findings import Finding
from .machine import Machine
from .shadow import Shadow
from .verification import Verification, unwritten_finding

NOTHING = -1


class Sanitizer:
    """An Observer. Raises SanitizerError at the first instruction that does wrong.

    `serial` is how many instructions have retired in program order, one after the other: the next
    one waits for none but these.
    """

    def __init__(self, about: Verification) -> None:
        self.about, found = about, about.accesses
        self.engines = about.clocks.engine.tolist()
        self.known = about.clocks.known
        self.spans = found.memory, found.start, found.stop
        self.rows = found.bounds(about.program.count)
        self.shadowed = found.take(about.handovers.rest)
        watched = np.zeros(about.program.count, np.bool_)
        watched[self.shadowed.instruction] = True
        self.watched = watched.tolist()

    def begin(self, machine: Machine) -> None:
        about = self.about
        self.shadow = Shadow(self.shadowed, about.image, about.program.count)
        self.retired = [0] * len(core.ENGINES)
        self.now, self.machine, self.serial = NOTHING, machine, 0
        machine.guard = self.check_view

    def before(self, index: int) -> None:
        self.now = index
        if index != self.serial and any(map(gt, self.known[index].tolist(), self.retired)):
            self.fail("wait", self.hasty(index))
        if not self.watched[index]:
            return
        for missing in self.shadow.step(index):
            raise SanitizerError([unwritten_finding(missing, self.shadowed, self.about.listing)])

    def hasty(self, index: int) -> str:
        """What it should have waited for."""
        known = zip(core.ENGINES, self.known[index].tolist(), self.retired, strict=True)
        name, needed, had = next(row for row in known if row[1] > row[2])
        return f"{self.name(index)} begins when {had} of {name} have retired, not {needed}"

    def after(self, index: int) -> None:
        if self.engines[index] >= 0:
            self.retired[self.engines[index]] += 1
        self.serial += index == self.serial
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
        rows = slice(*self.rows[self.now : self.now + 2])
        for held, first, last in zip(*(c[rows].tolist() for c in self.spans), strict=True):
            if held == memory and first <= offset and stop <= last:
                return
        place = self.about.listing.place(memory, offset, stop, self.now)
        self.fail("undeclared", f"{self.name(self.now)} touches {place}, which it does not declare")

    def name(self, index: int) -> str:
        return self.about.listing.instruction(index)

    def fail(self, check: str, text: str) -> None:
        raise SanitizerError([Finding(check, text, (self.now,))])
