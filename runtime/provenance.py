"""Whether instructions are what the debug map says they are made of."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from dnncc.isa import core, dma
from dnncc.isa import image as images
from dnncc.isa.parts import Part

from .accesses import Accesses, Counts, Ints
from .findings import ARROW, Finding, Listing
from .placement import NOWHERE


def steps(debug: images.Debug, listing: Listing) -> Iterator[Finding]:
    """Instructions of another kind than their step."""
    parts = listing.program.parts
    words = np.array([s.partition(" ")[0] for s in debug.steps] or [""])
    known = [cls.mnemonic for cls in core.instruction_set().values()]
    for part in parts:
        step = debug.step_of[part.indices]
        other = np.isin(words, known) & (words != part.cls.mnemonic)
        wrong = (step >= 0) & other[step]
        for index in part.indices[wrong].tolist():
            text = f"{listing.instruction(index)} is not what the debug map says it is"
            yield Finding("debug map", text, (index,))


class Shapes(NamedTuple):
    """Different forms of blocks in DRAM, int64[shapes, dimensions]."""

    sizes: Ints
    strides: Ints


class Moves(NamedTuple):
    """Loads, or stores: their numbers, their bytes [start, stop) in DRAM, which of the shapes these
    have, and the unit that they have in a scratchpad, NOWHERE for none."""

    indices: Ints
    start: Ints
    stop: Ints
    shape: Ints
    unit: Ints

    def take(self, rows: Ints) -> "Moves":
        return Moves(*(column[rows] for column in self))


def moves(
    found: Accesses, home: Counts, image: images.Image, listing: Listing
) -> Iterator[Finding]:
    """Loads and stores that are not of the tensor or not of the buffer that their step names."""
    debug, symbols = image.debug, {s.name: s for s in image.symbols}
    bounds = found.bounds(listing.program.count)
    for part in (p for p in listing.program.parts if p.cls in (dma.Load, dma.Store)):
        step_of = debug.step_of[part.indices] if debug else np.full(len(part.indices), -1)
        loads = part.cls is dma.Load
        made, shapes = moves_of(part, units_of(part, found, bounds, home))
        for chosen in of_steps(made, step_of):
            tensor, buffer = named(listing.step(int(chosen.indices[0])), loads)
            if not tensor:
                continue
            wrong = misplaced(chosen, shapes, symbols.get(tensor), len(image.rodata))
            wrong |= elsewhere(chosen, buffer, listing)
            for index, what in sorted(wrong.items()):
                yield Finding("symbol", f"{listing.instruction(index)} {what}", (index,))


def moves_of(part: Part, unit: Ints) -> tuple[Moves, Shapes]:
    """Of all instructions of a class, the shapes by form."""
    kinds, form = part.kinds, part.forms.form
    region = next(kinds.reads() if part.cls is dma.Load else kinds.writes())
    sizes, strides = np.stack(kinds.sizes(), axis=1), np.stack(kinds.dram_strides(), axis=1)
    start = part.column("dram").astype(np.int64)
    stop = start + (region.stop - region.start)[form]
    return Moves(part.indices, start, stop, form, unit), Shapes(sizes, strides)


def units_of(part: Part, found: Accesses, bounds: Ints, home: Counts) -> Ints:
    """The unit of each block in a scratchpad: the last that a load touches, a store's first."""
    if not len(found):
        return np.full(len(part), NOWHERE)
    loads = part.cls is dma.Load
    rows = bounds[part.indices + loads] - loads
    rows = np.clip(rows, 0, len(found) - 1)  # of those that touch nothing
    inside = (found.memory[rows] != core.DRAM) & (found.is_write[rows] == loads)
    inside &= found.instruction[rows] == part.indices
    return np.where(inside, np.maximum(home[rows], NOWHERE), NOWHERE)


def of_steps(made: Moves, step_of: Any) -> Iterator[Moves]:
    """The instructions of each step that the debug map names."""
    order = np.argsort(step_of, kind="stable")
    order = order[step_of[order] >= 0]
    for rows in np.split(order, np.flatnonzero(np.diff(step_of[order])) + 1):
        if len(rows):
            yield made.take(rows)


def named(step: str, loads: bool) -> tuple[str, str]:
    """(tensor, buffer) of a step "load buffer <- tensor" or "store tensor <- buffer"."""
    verb, _, rest = step.partition(" ")
    if ARROW not in rest or verb != ("load" if loads else "store"):
        return "", ""
    buffer, _, tensor = rest.partition(ARROW)
    if not loads:
        tensor, _, buffer = rest.rpartition(ARROW)
    return tensor, buffer


def misplaced(
    made: Moves, shapes: Shapes, symbol: images.Symbol | None, constants: int
) -> dict[int, str]:
    """Instructions whose block in DRAM is not of the tensor; one without a symbol is a constant."""
    first, last = (0, constants) if symbol is None else (symbol.address, symbol.stop)
    held = made.stop > made.start
    outside = held & ((made.start < first) | (made.stop > last))
    what = "constants" if symbol is None else f"tensor {symbol.name!r}"
    wrong = {int(i): f"is not of {what}, 0:{first:#x}..{last:#x}" for i in made.indices[outside]}
    if symbol is not None:
        odd = np.any(~np.isin(shapes.strides, symbol.strides) & (shapes.sizes > 1), axis=1)
        text = f"has strides in DRAM that are not those of {what}, {list(symbol.strides)}"
        wrong |= dict.fromkeys(made.indices[np.asarray(odd)[made.shape] & held].tolist(), text)
    return wrong


def elsewhere(made: Moves, buffer: str, listing: Listing) -> dict[int, str]:
    """Instructions whose block in a scratchpad lies in a unit, but not in a slot of the buffer."""
    units = listing.image.debug.units if listing.image.debug else ()
    counts = np.bincount(made.unit[made.unit > NOWHERE])
    names = {n: units[n].name for n in np.flatnonzero(counts).tolist()}
    foreign = [n for n, name in names.items() if name.rpartition("[")[0] != buffer]
    wrong = np.flatnonzero(np.isin(made.unit, foreign)).tolist() if foreign else []
    return {
        int(made.indices[row]): (
            f"is in {names[int(made.unit[row])]!r}, not in a slot of {buffer!r}"
        )
        for row in wrong
    }
