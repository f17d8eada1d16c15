"""Every tensor that is in a memory at some time, as it is right after its last writer."""

from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np

from dnncc.isa import image as images

from .files import replace, write_json
from .lifetime import life, writers
from .machine import Array, Machine
from .signature import merged
from .verification import Verification

LONGEST = 180
"""Characters of a file's name; longer ones are cut, and numbered."""


class Dump:
    """An Observer that copies tensors when the last of the instructions that write them has been
    executed; `values` are by name, (batch, *shape), of each chunk."""

    def __init__(self, about: Verification, symbols: Iterable[images.Symbol]) -> None:
        self.symbols = {s.name: s for s in symbols}
        self.values: dict[str, list[Array]] = {name: [] for name in self.symbols}
        self.writers = {
            name: frozenset(
                writers(about.accesses, s, life(s, about.image, about.program.count)).tolist()
            )
            for name, s in self.symbols.items()
        }
        self.made_by: dict[int, list[str]] = {}
        for name, found in self.writers.items():
            for index in found:
                self.made_by.setdefault(index, []).append(name)

    def last_writer(self, name: str) -> int:
        """In program order; -1 for what is there from the start."""
        return max(self.writers[name], default=-1)

    def begin(self, machine: Machine) -> None:
        self.machine = machine
        self.missing = {name: len(found) for name, found in self.writers.items()}
        for name in (n for n, count in self.missing.items() if count == 0):
            self.keep(name)  # an input, or the same bytes as one

    def before(self, index: int) -> None:
        """Nothing changes before."""

    def after(self, index: int) -> None:
        for name in self.made_by.get(index, ()):
            self.missing[name] -= 1
            if self.missing[name] == 0:
                self.keep(name)

    def end(self) -> None:
        """Nothing is left to do."""

    def keep(self, name: str) -> None:
        guard, self.machine.guard = self.machine.guard, None  # who looks on is no instruction
        self.values[name].append(self.machine.symbol(self.symbols[name]).copy())
        self.machine.guard = guard

    def arrays(self) -> dict[str, Array]:
        """The tensors that are complete, in the order in which they were written."""
        done = [name for name, parts in self.values.items() if parts]
        done.sort(key=self.last_writer)
        return {name: merged(np.concatenate(self.values[name])) for name in done}


def save(dump: Dump, folder: Path) -> int:
    """One .npy per tensor, and what they are in index.json; how many there are."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for number, (name, value) in enumerate(dump.arrays().items()):
        file = file_name(name, number)
        array = np.ascontiguousarray(value)
        replace(folder / file, partial(np.lib.format.write_array, array=array))
        rows.append(described(dump.symbols[name], file, dump.last_writer(name)))
    write_json(folder / "index.json", rows)
    return len(rows)


def file_name(name: str, number: int) -> str:
    """The tensor's name, in which all that could lead out of a folder is encoded."""
    safe = quote(name, safe="")
    return f"{safe}.npy" if len(safe) <= LONGEST else f"{safe[:LONGEST]}~{number}.npy"


def described(symbol: images.Symbol, file: str, writer: int) -> dict[str, Any]:
    return {
        "tensor": symbol.name,
        "file": file,
        "kind": symbol.kind,
        "dtype": symbol.dtype,
        "shape": list(symbol.shape),
        "scale": symbol.scale,
        "zero": symbol.zero,
        "last_writer": writer,
    }
