"""Mappings that earlier compilations chose, in a file of the user's cache folder.

There is a file for each target, effort, goal and text of the code that chooses: another dnncc, or
another machine, never meets a mapping that it would not have chosen itself. A line is a checksum,
the hash of a problem, and its mapping, with what that is estimated to take:

    <sha256 of the rest> <sha256 of the problem> {"choice": 3, "cycles": 512, "steps": {...}}

Nothing there is trusted: a line that is not whole, or a mapping that is not a candidate of its
problem, counts as absent. Files are replaced, never changed, so several compilations may use one at
once; what one of them adds may be lost to another, and is found again.
"""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from msgspec import Struct, field

from dnncc import targets
from dnncc.isa import elf
from dnncc.targets import Target

from .. import __version__
from ..ir import tile
from .buffers import footprint, within
from .cost import Problem
from .mapping import Priced
from .pool import rolls
from .rolled import in_ring
from .search import options_of, to_mapping
from .space import Choice, Mesh, Ways, boxes, sizes_of

LARGEST_FILE = 4 << 20
LONGEST_LINE = 1000
MOST_FILES = 256
"""Of which the oldest go."""


class Cache(Struct):
    """Texts of mappings by the hash of their problem; `path` is None where nothing is kept."""

    path: Path | None = None
    lines: dict[str, str] = field(default_factory=dict)
    fresh: bool = False

    def find(self, problem: Problem) -> Priced | None:
        """What was chosen for such a problem."""
        text = self.lines.get(name_of(problem)) if self.path else None
        return None if text is None else candidate(problem, decoded(text))

    def add(self, problem: Problem, chosen: Priced) -> None:
        if self.path is None:
            return
        ways, steps = all_options(problem), dict(chosen.mapping.steps)
        able = (i for i, way in enumerate(ways) if loops_as(way, chosen))
        number = next(i for i in able if to_mapping(problem, ways[i], steps) == chosen.mapping)
        text = json.dumps({"choice": number, "cycles": chosen.cycles, "steps": steps})
        self.fresh |= self.lines.get(name_of(problem)) != text
        self.lines[name_of(problem)] = text

    def save(self) -> None:
        """Write what is new; a folder that cannot be written to is left alone."""
        if self.path is None or not self.fresh:
            return
        lines = dict(read(self.path)) | self.lines
        data = "".join(line(name, text) for name, text in lines.items()).encode()
        with suppress(OSError):
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            elf.replace_file(self.path, data[:LARGEST_FILE])
            remove_oldest(self.path.parent)


def folder(environment: Mapping[str, str]) -> Path | None:
    """The user's cache folder for dnncc; none where DNNCC_CACHE is "off" or nobody has a home."""
    if environment.get("DNNCC_CACHE") == "off":
        return None
    base = environment.get("XDG_CACHE_HOME", "")
    home = environment.get("HOME", "")
    if os.path.isabs(base):
        return Path(base) / "dnncc"
    return Path(home) / ".cache" / "dnncc" if os.path.isabs(home) else None


def open_cache(where: Path | None, target: Target, effort: int, goal: str = "latency") -> Cache:
    """Of the mappings for a target, of one effort and goal; empty where there is none."""
    code = code_hash() if where else None
    if where is None or code is None:
        return Cache()
    identity = json.dumps([__version__, code, effort, goal, target.document()], sort_keys=True)
    path = where / f"mappings-{hashed(identity)[:32]}.txt"
    return Cache(path, dict(read(path)))


def code_hash() -> str | None:
    """Of all that decides which candidate is chosen; None where the sources are not at hand."""
    packages = (Path(__file__).parent, Path(targets.__file__).parent)
    files = sorted(path for package in packages for path in package.rglob("*.py"))
    try:
        texts = [path.read_bytes() for path in (*files, Path(tile.__file__))]
    except OSError:
        return None
    return sha256(b"".join(sha256(text).digest() for text in texts)).hexdigest() if files else None


def hashed(text: str) -> str:
    return sha256(text.encode()).hexdigest()


def name_of(problem: Problem) -> str:
    return hashed(repr(problem.key))


def line(name: str, text: str) -> str:
    return f"{hashed(f'{name} {text}')} {name} {text}\n"


def read(path: Path) -> Iterator[tuple[str, str]]:
    """The name and the text of every line that is whole."""
    try:
        if not path.is_file():
            return
        with path.open("rb") as stream:
            data = stream.read(LARGEST_FILE)
    except OSError:
        return
    for row in data.decode(errors="replace").split("\n"):
        checksum, _, rest = row.partition(" ")
        if len(row) <= LONGEST_LINE and hashed(rest) == checksum:
            name, _, text = rest.partition(" ")
            yield name, text


def decoded(text: str) -> dict[str, Any]:
    """A JSON object; an empty one if it is something else."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def candidate(problem: Problem, record: dict[str, Any]) -> Priced | None:
    """The mapping that a record names, if it is one that the search may choose."""
    number, cycles, steps = (record.get(name) for name in ("choice", "cycles", "steps"))
    options = all_options(problem)
    if type(number) is not int or not 0 <= number < len(options) or not isinstance(steps, dict):
        return None
    if type(cycles) is not int:
        return None
    if list(steps) != list(problem.load.dims) or not all(type(s) is int for s in steps.values()):
        return None
    if any(
        s not in sizes_of(problem.load, problem.given, v, problem.fill) for v, s in steps.items()
    ):
        return None
    one, way = Mesh({v: np.array([s]) for v, s in steps.items()}), Ways.of({0: options[number]})
    room = within(problem, footprint(problem, way, one), 1)
    legal = boxes(problem.load, one) & rolls(problem, way, one)
    fits = legal.all() and room.all()
    return Priced(to_mapping(problem, options[number], steps), cycles) if fits else None


def loops_as(way: Choice, chosen: Priced) -> bool:
    """Whether a mapping has the loops and residents of a choice; slots are dearer to compare."""
    mapping = chosen.mapping
    order = tuple(v for v in way.order if v in mapping.order)
    return (order, way.resident) == (mapping.order, mapping.resident)


def all_options(problem: Problem) -> list[Choice]:
    """Those of both searches, without and with a ring of rows."""
    ring = in_ring(problem)
    return [*options_of(problem), *(options_of(ring) if ring else ())]


def remove_oldest(where: Path) -> None:
    files = sorted(where.glob("mappings-*.txt"), key=lambda path: path.stat().st_mtime)
    for path in files[:-MOST_FILES]:
        path.unlink(missing_ok=True)
