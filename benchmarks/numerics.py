"""How many values of the quantised models differ from onnxruntime's: the table in docs/numerics.md.

    python -m benchmarks.numerics [MODEL ...] [--target NAME|FILE] [--seeds N]

For the input that is kept beside each model, and N random ones: elements of the outputs and of the
quantised tensors inside, and how many differ from onnxruntime's default session on exact integer
kernels; then, of the outputs, how many differ from that session as this machine's CPU runs it.
"""

import argparse
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from tests.e2e.reference import Reference, session
from tests.e2e.running import Compiled, proto, saved, through_binary
from tests.models import QUANTISED, find_model, random_feeds

Arrays = Mapping[str, Any]


class Count(NamedTuple):
    """Elements compared, and those that differ."""

    elements: int
    different: int

    def __str__(self) -> str:
        return f"{self.different:,} of {self.elements:,}"


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser("benchmarks.numerics", description="Differences to onnxruntime.")
    p.add_argument("models", nargs="*", default=QUANTISED, help="folders of the models' folder")
    p.add_argument("--target", default="eyeriss-like", help="a name, or a TOML file (%(default)s)")
    p.add_argument("--seeds", type=int, default=2, metavar="N", help="random inputs (%(default)s)")
    return p


def main() -> None:
    options = parser().parse_args()
    print("| model | saved outputs | outputs | inner tensors | this CPU's outputs |")
    print("|---|---|---|---|---|")
    for name in options.models:
        compiled = through_binary(find_model(name), options.target)
        cells = compare(name, compiled, options.seeds)
        print(f"| {name} | {' | '.join(map(str, cells))} |", flush=True)


def compare(name: str, compiled: Compiled, seeds: int) -> tuple[Count, Count, Count, Count]:
    """The saved input's outputs; outputs, inner tensors and plain outputs over all inputs."""
    model = proto(name)
    feeds, expected = saved(name)
    reference, plain = Reference(model), session(model)
    inputs = [feeds, *(random_feeds(model, seed) for seed in range(seeds))]
    got = [compiled.run(feed) for feed in inputs]
    exact = [reference.outputs(feed) for feed in inputs]
    usual = [dict(zip(exact[0], plain.run(list(exact[0]), feed), strict=True)) for feed in inputs]
    inner = [(compiled.inner(feed), reference.inner(feed)) for feed in inputs]
    return (
        count([(got[0], expected)]),
        count(zip(got, exact, strict=True)),
        count(inner),
        count(zip(got, usual, strict=True)),
    )


def count(pairs: Any) -> Count:
    """Over pairs of dictionaries, the elements of the arrays that both have."""
    elements = different = 0
    for ours, theirs in pairs:
        for name in ours.keys() & theirs.keys():
            elements += theirs[name].size
            different += int(np.count_nonzero(ours[name] != theirs[name]))
    return Count(elements, different)


if __name__ == "__main__":
    main()
