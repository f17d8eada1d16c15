"""What is wrong with a program: one line each, with the instructions and how to mend it."""

from collections.abc import Iterator, Sequence

import numpy as np
from msgspec import Struct

from dnncc.isa import core, lines
from dnncc.isa import image as images
from dnncc.isa import program as programs

from .accesses import Accesses
from .table import printable

MOST_SHOWN = 20
LONGEST = 60
ARROW = " <- "


class Finding(Struct, frozen=True):
    """`check` is what found it (verification.CHECKS); `instructions` are those to look at, the one
    that goes wrong first."""

    check: str
    text: str
    instructions: tuple[int, ...] = ()

    def __str__(self) -> str:
        return printable(f"{self.check}: {self.text}")


def shown(findings: Sequence[Finding], most: int = MOST_SHOWN) -> Iterator[str]:
    """One line each, and how many more there are."""
    yield from map(str, findings[:most])
    if len(findings) > most:
        yield f"... and {len(findings) - most} more"


class Listing(Struct, frozen=True):
    """Names what findings are about."""

    program: programs.Program
    image: images.Image

    def instruction(self, index: int) -> str:
        """Number, assembly, ONNX node and tile step."""
        return f"instruction {index} `{self.assembly(index)}`{self.origin(index)}"

    def assembly(self, index: int) -> str:
        for part in self.program.parts:
            row = int(np.searchsorted(part.indices, index))
            if row < len(part.indices) and part.indices[row] == index:
                one = part.take(slice(row, row + 1))
                text: str = lines.part_lines(one)[0]
                return text
        return "?"

    def origin(self, index: int) -> str:
        """Of what it was made, in parentheses."""
        node, step = self.node(index), self.step(index)
        names = [f"node {brief(node)!r}"] if node else []
        names += [ARROW.join(map(brief, step.split(ARROW)))] if step else []
        return f" ({', '.join(names)})" if names else ""

    def node(self, index: int) -> str:
        """The ONNX node, or those fused into one."""
        debug = self.image.debug
        if debug is None or index >= len(debug.node_of) or debug.node_of[index] < 0:
            return ""
        return str(debug.nodes[debug.node_of[index]])

    def step(self, index: int) -> str:
        debug = self.image.debug
        if debug is None or index >= len(debug.step_of) or debug.step_of[index] < 0:
            return ""
        return str(debug.steps[debug.step_of[index]])

    def row(self, found: Accesses, row: int) -> str:
        """What a row of Accesses does: "reads 1:0x200..0x240 of 'psum[0]'"."""
        index, start, stop = (int(c[row]) for c in (found.instruction, found.start, found.stop))
        verb = "writes" if found.is_write[row] else "reads"
        return f"{verb} {self.place(int(found.memory[row]), start, stop, index)}"

    def place(self, memory: int, start: int, stop: int, index: int) -> str:
        """Bytes, and the name of the buffer that they are in while instruction `index` runs."""
        text = f"{memory}:{start:#x}..{stop:#x}"
        names = [
            brief(u.name) for u in self.units(index) if u.memory == memory and within(u, start)
        ]
        constant = memory == core.DRAM and stop <= len(self.image.rodata)
        return text + (f" of {names[0]!r}" if names else " of the constants" if constant else "")

    def units(self, index: int) -> list[images.Unit]:
        """The buffers that live while an instruction runs."""
        debug = self.image.debug
        return [u for u in debug.units if u.first <= index <= u.last] if debug else []


def brief(label: str) -> str:
    """A name, or the first of several and their number; the end of it if it is long.

    Fused nodes are joined by " + "; a name may itself be several, as TensorFlow's converter makes
    them, joined by ";".
    """
    nodes = label.split(" + ")
    more = f" +{len(nodes) - 1}" if nodes[1:] else ""
    name, _, rest = nodes[0].partition(";")
    name = name if len(name) <= LONGEST else "…" + name[-LONGEST:]
    return name + (";…" if rest else "") + more


def within(unit: images.Unit, byte: int) -> bool:
    return unit.start <= byte < unit.stop
