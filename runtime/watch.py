"""Who reads and writes one element of a tensor, and when."""

from typing import NamedTuple

import numpy as np

from dnncc.isa import image as images

from .lifetime import Element, life, touching
from .machine import Machine
from .timing import Timeline
from .verification import Verification


class Touch(NamedTuple):
    """An instruction that touches the element, in cycles start..end; `value` is what the first
    input of the batch has then."""

    instruction: int
    is_write: bool
    start: int
    end: int
    value: str


class Watch:
    """An Observer of one element."""

    def __init__(self, about: Verification, timeline: Timeline, element: Element) -> None:
        found, symbol = about.accesses, element.symbol
        self.about, self.timeline, self.element = about, timeline, element
        self.alone = images.Symbol(
            symbol.name, "tensor", symbol.dtype, (1,), (1,), symbol.memory, element.start
        )
        rows = touching(found, self.alone, life(symbol, about.image, about.program.count))
        self.rows: dict[int, list[bool]] = {}
        for index, is_write in zip(found.instruction[rows], found.is_write[rows], strict=True):
            self.rows.setdefault(int(index), []).append(bool(is_write))
        self.touches: list[Touch] = []

    def begin(self, machine: Machine) -> None:
        self.machine = machine

    def before(self, index: int) -> None:
        self.note(index, False)

    def after(self, index: int) -> None:
        self.note(index, True)

    def end(self) -> None:
        """Nothing is left to do."""

    def note(self, index: int, is_write: bool) -> None:
        if is_write in self.rows.get(index, ()):
            value = str(np.asarray(self.machine.symbol(self.alone))[0, 0])
            start, end = int(self.timeline.start[index]), int(self.timeline.end[index])
            self.touches.append(Touch(index, is_write, start, end, value))

    def lines(self) -> list[str]:
        """One line for each time that the element is read or written."""
        at, symbol = self.element, self.element.symbol
        first = f"{symbol.name}{list(at.indices)} is {symbol.memory}:{at.start:#x}..{at.stop:#x}"
        return [first, *(self.line(touch) for touch in self.touches)]

    def line(self, touch: Touch) -> str:
        verb = "writes" if touch.is_write else "reads "
        what = self.about.listing.instruction(touch.instruction)
        return f"  cycles {touch.start}..{touch.end}  {verb} {touch.value:>6}  {what}"
