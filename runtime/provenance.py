"""Whether instructions are what the debug map says they are made of."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from dnncc.isa import core, dma
from dnncc.isa import image as images
from dnncc.isa import program as programs

from .accesses import Accesses, Ints
from .findings import ARROW, Finding, Listing
from .placement import NOWHERE


def steps(debug: images.Debug, listing: Listing) -> Iterator[Finding]:
    """Instructions of another kind than their step."""
    parts = listing.program.parts
    words = np.array([s.partition(" ")[0] for s in debug.steps] or [""])
    known = [cls.mnemonic for cls in core.instruction_set().values()]
    for part in parts:
        step = debug.step_of[part.indices]
        word = words[step]
        wrong = (step >= 0) & np.isin(word, known) & (word != part.cls.mnemonic)
        for index in part.indices[wrong].tolist():
            text = f"{listing.instruction(index)} is not what the debug map says it is"
            yield Finding("debug map", text, (index,))


def moves(found: Accesses, home: Ints, image: images.Image, listing: Listing) -> Iterator[Finding]:
    """Loads and stores that are not of the tensor or not of the buffer that their step names."""
    debug, symbols = image.debug, {s.name: s for s in image.symbols}
    for part in (p for p in listing.program.parts if p.cls in (dma.Load, dma.Store)):
        step_of = debug.step_of[part.indices] if debug else np.full(len(part.indices), -1)
        side = (found.memory != core.DRAM) & (found.is_write == (part.cls is dma.Load))
        rows = np.flatnonzero(side & (home > NOWHERE))
        held = Held(found.instruction[rows], home[rows])
        for chosen in of_steps(part, step_of):
            tensor, buffer = named(listing.step(int(chosen.indices[0])), part.cls is dma.Load)
            if not tensor:
                continue
            wrong = misplaced(chosen, symbols.get(tensor), len(image.rodata))
            wrong |= elsewhere(chosen, held, buffer, listing)
            for index, what in sorted(wrong.items()):
                yield Finding("symbol", f"{listing.instruction(index)} {what}", (index,))


def of_steps(part: programs.Part, step_of: Any) -> Iterator[programs.Part]:
    """The instructions of each step that the debug map names."""
    order = np.argsort(step_of, kind="stable")
    order = order[step_of[order] >= 0]
    for rows in np.split(order, np.flatnonzero(np.diff(step_of[order])) + 1):
        if len(rows):
            yield programs.Part(part.cls, part.indices[rows], part.records[rows])


def named(step: str, loads: bool) -> tuple[str, str]:
    """(tensor, buffer) of a step "load buffer <- tensor" or "store tensor <- buffer"."""
    verb, _, rest = step.partition(" ")
    if ARROW not in rest or verb != ("load" if loads else "store"):
        return "", ""
    buffer, _, tensor = rest.partition(ARROW)
    if not loads:
        tensor, _, buffer = rest.rpartition(ARROW)
    return tensor, buffer


def misplaced(part: programs.Part, symbol: images.Symbol | None, constants: int) -> dict[int, str]:
    """Instructions whose block in DRAM is not of the tensor; one without a symbol is a constant."""
    every: Any = part.cls.from_records(part.records)
    region = next(every.reads() if part.cls is dma.Load else every.writes())
    first, last = (0, constants) if symbol is None else (symbol.address, symbol.stop)
    inside = (region.start >= first) & (region.stop <= last)
    what = "constants" if symbol is None else f"tensor {symbol.name!r}"
    wrong = {
        int(i): f"is not of {what}, 0:{first:#x}..{last:#x}"
        for i in part.indices[~inside & (region.stop > region.start)]
    }
    if symbol is not None:
        sizes, strides = (np.stack(c, axis=1) for c in (every.sizes(), every.dram_strides()))
        odd = (~np.isin(strides, symbol.strides) & (sizes > 1)).any(axis=1)
        text = f"has strides in DRAM that are not those of {what}, {list(symbol.strides)}"
        wrong |= {int(i): text for i in part.indices[odd & (region.stop > region.start)]}
    return wrong


class Held(NamedTuple):
    """Accesses that lie in a unit: the instruction, ascending, and the unit."""

    instruction: Ints
    home: Ints


def elsewhere(part: programs.Part, held: Held, buffer: str, listing: Listing) -> dict[int, str]:
    """Instructions whose block in a scratchpad is `held` in a unit, but not in a slot of the
    buffer."""
    near = np.searchsorted(held.instruction, part.indices)
    near = near[near < len(held.instruction)]
    near = near[np.isin(held.instruction[near], part.indices)]
    units = listing.image.debug.units if listing.image.debug else ()
    names = {n: units[n].name for n in np.unique(held.home[near]).tolist()}
    foreign = [n for n, name in names.items() if name.rpartition("[")[0] != buffer]
    wrong = near[np.isin(held.home[near], foreign)].tolist()
    return {
        int(held.instruction[row]): (
            f"is in {names[int(held.home[row])]!r}, not in a slot of {buffer!r}"
        )
        for row in wrong
    }
