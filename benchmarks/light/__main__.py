"""The nine light networks with seeded weights: compiled, run, and compared with onnxruntime.

    python -m benchmarks.light [--networks NAME ...] [--forms FORM ...] [--targets NAME|FILE ...]
    python -m benchmarks.light --results light.jsonl        # goes on where it was interrupted

Each network, as float and in each int8 form that onnxruntime.quantization makes, on each target, in
a process of its own. Every element of the outputs and of the quantised tensors inside is compared
with onnxruntime's default session on exact integer kernels; a float network is compared with the
quantised model that dnncc makes of it. "Arise" are those that differ though the node that makes
them reads onnxruntime's values.

The rule: nothing arises, but where onnxruntime itself sums in float32 and a tie may round
otherwise, by a step or two: of 8 bits in 0.02 % of the elements of all sums; of 16 bits, for which
it has no integer kernel at all, in 0.2 %. A layer that has taken such a sum in counts as one.
Outputs are equal, but for what follows from such ties and for the last bits of a float32 softmax.
Exit status 1 if a cell fails, differs beyond that, or takes 4 GB or more.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import astuple, dataclass
from itertools import product, starmap
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import networks
from benchmarks.light.files import group
from benchmarks.light.results import Results

FLOAT = "float"
FORMS = (FLOAT, "qdq-u8s8", "qdq-s8s8", "qop-u8s8")
COLUMNS = (
    *("network", "form", "target", "compile s", "run s", "peak MB", "MACs on it"),
    *("outputs that differ", "inner elements that differ", "arise", "on the host"),
)
MOST_BYTES = 4_000_000_000
MOST_TIES, LARGEST_TIE = {1: 2e-4, 2: 2e-3}, 2
"""The share of the elements of sums, by the bytes of their type: a step of 16 bits is 256 times as
near to the last bit of float32."""
FLOAT_STEPS = 1000**0.5 * 2**-23
"""Of the largest output: what rounding makes of a softmax, whose sum has a thousand terms; one
after the other here, in lanes there."""


class CellError(Exception):
    """A process of a cell has failed; the last line that it wrote."""


@dataclass(frozen=True, slots=True)
class Cell:
    network: str
    form: str
    target: str


@dataclass(frozen=True, slots=True)
class Difference:
    """Elements compared, those that differ, and by how much at most."""

    elements: int
    different: int
    most: float

    def __str__(self) -> str:
        return f"{self.different:,} of {self.elements:,} ({self.most:.3g})"


@dataclass(frozen=True, slots=True)
class Found:
    """The differences of a cell; `sums` are those of `alone` in which there is a float32 sum of
    onnxruntime's, of `width` bytes."""

    outputs: Difference
    inner: Difference
    alone: Difference
    sums: Difference
    largest: float
    width: int

    @classmethod
    def between(cls, got: Path, expected: Path) -> Found:
        outputs, inner = group(expected, "output"), group(expected, "inner")
        alone, sums = group(got, "alone"), group(got, "sum")
        return cls(
            total(group(got, "output"), outputs),
            total(group(got, "inner"), inner),
            total(alone, inner),
            total(sums, inner),
            max(float(np.abs(value).max(initial=0)) for value in outputs.values()),
            max((value.dtype.itemsize for value in sums.values()), default=1),
        )

    def is_right(self, exact: bool) -> bool:
        """Whether they keep the rule; `exact` where no output ends in float32 steps."""
        ties = self.sums.different
        few = ties <= max(2, MOST_TIES[self.width] * self.sums.elements)
        small = self.sums.most <= LARGEST_TIE
        allowed = 0.0 if exact else FLOAT_STEPS * self.largest
        same = self.outputs.most <= allowed or ties > 0
        return same and few and small and self.alone.different == ties and self.outputs.elements > 0


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser("benchmarks.light", description=(__doc__ or "").split("\n")[0])
    p.add_argument("--networks", nargs="+", default=networks.names(), metavar="NAME")
    p.add_argument("--forms", nargs="+", default=FORMS, choices=(FLOAT, *networks.FORMS))
    p.add_argument("--targets", nargs="+", default=["tpu-like", "eyeriss-like"], metavar="T")
    p.add_argument(
        "--cache",
        type=Path,
        default=Path(tempfile.gettempdir()) / "dnncc-networks",
        help="folder of the models that are made (%(default)s)",
    )
    p.add_argument("--results", type=Path, help="rows are added to this file; known ones are kept")
    return p


def main(arguments: list[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    print(f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}")
    results, wrong = Results(options.results), 0
    for cell in starmap(Cell, product(options.networks, options.forms, options.targets)):
        row, right = results.known(astuple(cell)) or tried(cell, options.cache, results)
        print(f"| {' | '.join(row)} |" + ("" if right else " WRONG"), flush=True)
        wrong += not right
    return 1 if wrong else 0


def tried(cell: Cell, cache: Path, results: Results) -> tuple[list[str], bool]:
    """The row of a cell, and whether all is as it has to be; kept if its processes ended well."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            row, right = measured(cell, cache, Path(folder))
        except CellError as error:
            return [*astuple(cell), f"FAILED: {error}"], False
    results.add(row, right)
    return row, right


def measured(cell: Cell, cache: Path, folder: Path) -> tuple[list[str], bool]:
    """The row of a cell. Raises CellError."""
    python("networks", cell.network, cell.form, cache)
    model = networks.path(cell.network, cell.form, cache)
    expected, got = folder / "expected.npz", folder / "got.npz"
    python("light.expected", model, expected, *([cell.target] if cell.form == FLOAT else []))
    costs = json.loads(python("light.cell", model, cell.target, expected, got))
    found = Found.between(got, expected)
    right = costs["bytes"] < MOST_BYTES and found.is_right(exact=cell.form != FLOAT)
    hosts = ", ".join(f"{n} {op}" for op, n in costs["host"].items()) or "-"
    row = [
        *(cell.network, cell.form, cell.target),
        *(f"{costs['compile']:.1f}", f"{costs['run']:.1f}", f"{costs['bytes'] / 1e6:,.0f}"),
        *(f"{costs['share']:.2%}", str(found.outputs), str(found.inner), str(found.alone), hosts),
    ]
    return row, right


def python(module: str, *arguments: Any) -> str:
    """What a process of its own prints. Raises CellError."""
    command = [sys.executable, "-m", f"benchmarks.{module}", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[2])
    if done.returncode:
        raise CellError((done.stderr.strip() or f"exit status {done.returncode}").splitlines()[-1])
    return done.stdout


def total(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> Difference:
    common = sorted(ours.keys() & theirs.keys())
    steps = [np.abs(np.subtract(ours[n], theirs[n], dtype=np.float64)) for n in common]
    return Difference(
        sum(s.size for s in steps),
        sum(int(np.count_nonzero(s)) for s in steps),
        max((float(s.max(initial=0)) for s in steps), default=0.0),
    )


if __name__ == "__main__":
    sys.exit(main())
