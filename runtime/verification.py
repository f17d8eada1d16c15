"""Proofs about a binary before it runs; no address depends on values, so what holds here holds for
every input and in every order that its waits allow."""

from collections.abc import Iterator
from functools import cached_property

import numpy as np
from msgspec import Struct

from dnncc.isa import core, dma, lines
from dnncc.isa import image as images
from dnncc.isa import program as programs
from dnncc.isa.distinct import distinct
from dnncc.targets import Target

from . import loading, placement, provenance
from .accesses import Accesses, Counts, Ints, accesses
from .clocks import Clocks
from .errors import RunError
from .findings import Finding, Listing
from .handovers import Handovers, Kinds, handovers
from .hazards import Race, races, too_open
from .host import part_problems
from .shadow import Shadow, Unwritten

CHECKS = {
    "structure": "decodes, fits its target, names what exists",
    "bounds": "no access leaves its memory",
    "size": "the memories of a run can be held",
    "constants": "nothing writes them, or reads across their end",
    "wait": "every wait is for an instruction issued before",
    "race": "accesses to the same bytes, one a write, are in order",
    "unwritten": "what is read was written",
    "dead store": "what is written is read, or an output",
    "leak": "what is loaded is used",
    "overlap": "buffers in use at the same time share no bytes",
    "stray": "each access lies in a buffer that is in use",
    "symbol": "loads and stores are of the tensors and buffers that they are made for",
    "debug map": "instructions are of the kind that their step says",
    "host": "host parts take and give what their tensors hold",
}
"""What is checked, and what holds when there is no finding of it."""


def verify(image: images.Image) -> list[Finding]:
    """All that is wrong, the first instruction first. A program that does not decode has one."""
    try:
        images.check_image(image)
        target = loading.target_of(image)
        program = programs.Program.decode(image.text)
    except (core.IsaError, RunError) as error:
        return [Finding("structure", str(error))]
    return Verification(program, image, target).findings()


class Verification(Struct, frozen=True, dict=True):
    """A decoded program, and what is derived of it once."""

    program: programs.Program
    image: images.Image
    target: Target

    def findings(self) -> list[Finding]:
        """Where accesses leave their memories, or these are too large, no more is said of bytes."""
        found, reach = [*self.structure(), *self.waits()], [*self.bounds()] or [*self.size()]
        if not reach:
            found += [*self.races(), *self.lifetimes(), *self.placement(), *self.host_parts()]
        found += reach
        return sorted(found, key=lambda f: (f.instructions or (-1,))[0])

    @cached_property
    def listing(self) -> Listing:
        return Listing(self.program, self.image)

    @cached_property
    def accesses(self) -> Accesses:
        return accesses(self.program, self.image, {s.name: s for s in self.image.symbols})

    @property
    def touched(self) -> programs.Regions:
        """With what the host touches."""
        return programs.Regions(*(getattr(self.accesses, n) for n in programs.Regions._fields))

    @cached_property
    def clocks(self) -> Clocks:
        return Clocks.of(self.program)

    @cached_property
    def home(self) -> Counts:
        return placement.homes(self.accesses, self.image)

    def structure(self) -> Iterator[Finding]:
        if self.image.dram_bytes > self.target.dram.bytes:
            text = f"needs {self.image.dram_bytes} bytes of DRAM; {self.target.name} has "
            yield Finding("structure", f"{text}{self.target.dram.bytes}")
        for text in loading.problems(self.program, self.touched, self.image, self.target):
            yield Finding("constants" if "the constants" in text else "structure", text)
        if self.image.debug is not None and len(self.image.debug.step_of) == self.program.count:
            yield from provenance.steps(self.image.debug, self.listing)

    def waits(self) -> Iterator[Finding]:
        """Only a Program made by hand can have such waits: encoded ones point backwards."""
        for engine, name in enumerate(core.ENGINES):
            count, issued = self.program.waits[:, engine], self.clocks.issued(engine)
            for index in np.flatnonzero(count > issued).tolist():
                text = f"{self.listing.instruction(index)} waits for {count[index]} of {name}"
                text += f", to which {issued[index]} were issued before it"
                yield Finding("wait", text, (index,))

    def bounds(self) -> Iterator[Finding]:
        found = self.accesses
        sizes = np.zeros(images.MOST_MEMORIES, np.int64)
        sizes[: 1 + len(self.target.memories)] = [
            self.image.dram_bytes, *(m.bytes for m in self.target.memories),
        ]  # fmt: skip
        outside = found.start < 0
        if np.any(found.reach(len(sizes)) > sizes):
            outside |= found.stop > sizes[found.memory]
        for row in np.flatnonzero(outside).tolist():
            index, size = int(found.instruction[row]), int(sizes[found.memory[row]])
            text = f"{self.listing.instruction(index)} {self.listing.row(found, row)}"
            yield Finding("bounds", f"{text} of a memory of {size} bytes", (index,))

    def size(self) -> Iterator[Finding]:
        try:
            loading.extents(self.touched, self.image, self.target)
        except RunError as error:
            yield Finding("size", str(error))

    def races(self) -> Iterator[Finding]:
        yield from (race_finding(race, self) for race in races(self.accesses, self.clocks))
        if too_open(self.clocks):
            yield Finding("race", "too many instructions are unordered to compare all of them")

    def lifetimes(self) -> Iterator[Finding]:
        """Bytes that are read before they are written, or written and never read.

        What a buffer's bytes hold from before its life counts as unwritten.
        """
        made, rows = self.handovers
        found, born = self.accesses.take(rows), self.born
        shadow = Shadow(found, self.image, self.program.count)
        shadow.note(made)
        for index in np.union1d(found.instruction, np.array(list(born), np.int64)).tolist():
            for unit in born.get(index, ()):
                shadow.forget(unit.memory, unit.start, unit.stop)
            for missing in shadow.step(index):
                yield unwritten_finding(missing, found, self.listing)
        if len(unused := shadow.unused(self.accesses)):
            yield from (self.unused(i) for i in unused[~np.isin(unused, self.sliced)].tolist())

    @cached_property
    def handovers(self) -> Handovers:
        """Of a program whose buffers are apart, and which keeps to them; of another, that all rows
        have to be looked at."""
        units = self.image.debug.units if self.image.debug else ()
        writes_constants = (self.home == placement.CONSTANT) & self.accesses.is_write
        astray = (self.home == placement.NOWHERE) | writes_constants
        if astray.any() or self.overlaps:
            return Handovers(np.zeros(0, np.int64), np.arange(len(self.accesses)))
        inputs = {(s.memory, s.address, s.stop) for s in self.image.symbols if s.kind == "input"}
        tensor = np.array([bool(u.tensors) for u in units], np.bool_)
        given = np.array([(u.memory, u.start, u.stop) in inputs for u in units], np.bool_)
        return handovers(self.accesses, self.home, Kinds(tensor, given))

    @cached_property
    def overlaps(self) -> list[Finding]:
        units = self.image.debug.units if self.image.debug else ()
        return list(placement.overlaps(units, self.listing))

    @cached_property
    def sliced(self) -> Ints:
        """Instructions that write a tensor of which something is read: a model may use a slice."""
        debug, found = self.image.debug, self.accesses
        if debug is None or not debug.units:
            return np.zeros(0, np.int64)
        tensors = np.array([bool(u.tensors) for u in debug.units])
        known = self.home >= 0
        read = np.zeros(len(tensors), np.bool_)
        read[self.home[known & ~found.is_write]] = True
        partly = known & found.is_write & (tensors & read)[self.home]
        return distinct(found.instruction[partly])

    @cached_property
    def born(self) -> dict[int, list[images.Unit]]:
        """Buffers by the first instruction of their lives; inputs are there before."""
        inputs = {s.name for s in self.image.symbols if s.kind == "input"}
        found: dict[int, list[images.Unit]] = {}
        for unit in self.image.debug.units if self.image.debug else ():
            if inputs.isdisjoint(unit.tensors):
                found.setdefault(unit.first, []).append(unit)
        return found

    def unused(self, index: int) -> Finding:
        text = self.listing.instruction(index)
        if index in self.loads:
            return Finding("leak", f"{text} loads what nothing uses", (index,))
        return Finding("dead store", f"{text} writes what nothing reads", (index,))

    @cached_property
    def loads(self) -> frozenset[int]:
        parts = (p for p in self.program.parts if p.cls is dma.Load)
        return frozenset(i for p in parts for i in p.indices.tolist())

    def placement(self) -> Iterator[Finding]:
        debug = self.image.debug
        if debug is None or not debug.units or len(debug.step_of) != self.program.count:
            return
        yield from self.overlaps
        yield from placement.strays(self.accesses, self.home, self.listing)
        yield from provenance.moves(self.accesses, self.home, self.image, self.listing)

    def host_parts(self) -> Iterator[Finding]:
        symbols = {s.name: s for s in self.image.symbols}
        for number, part in enumerate(self.image.host):
            for text in part_problems(part, symbols):
                yield Finding("host", f"host part {number}: {text}")


def race_finding(race: Race, about: Verification) -> Finding:
    """Names both instructions, the byte, and the wait that puts them in order."""
    found, clocks, listing = about.accesses, about.clocks, about.listing
    first, second = int(found.instruction[race.earlier]), int(found.instruction[race.later])
    engine = int(clocks.engine[first])
    issued = clocks.issued(engine)
    back = int(issued[second] - issued[first])
    wait = lines.wait_text(core.ENGINES[engine], min(back, core.FARTHEST_WAIT)).strip()
    text = (
        f"{listing.instruction(second)} {listing.row(found, race.later)}; "
        f"{listing.instruction(first)}, which may not have ended, "
        f"{listing.row(found, race.earlier)}; both touch byte {race.byte:#x}; "
        f"add {wait} to instruction {second}"
    )
    return Finding("race", text, (second, first))


def unwritten_finding(missing: Unwritten, found: Accesses, listing: Listing) -> Finding:
    index = int(found.instruction[missing.row])
    what = f"{missing.size} bytes, from {missing.byte:#x} on, that nothing has written"
    text = f"{listing.instruction(index)} {listing.row(found, missing.row)}: {what}"
    return Finding("unwritten", text, (index,))
