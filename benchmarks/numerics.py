"""How many values of the quantised models differ from onnxruntime's: the table in docs/numerics.md.

    python -m benchmarks.numerics [MODEL ...] [--target NAME|FILE] [--seeds N]

Two rows per model: the input that is kept beside it, and N random ones. Elements of the outputs and
of the quantised tensors inside that differ from onnxruntime's default session on exact integer
kernels; those that differ though the operator that makes them is given onnxruntime's own values, by
operator; and elements of the outputs that differ from that session as this CPU runs it.
"""

import argparse
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from dnncc.ir.graph import Graph
from dnncc.ir.interpret import execute
from tests.e2e.reference import Reference, session
from tests.e2e.running import Compiled, proto, saved, through_binary
from tests.models import QUANTISED, find_model, random_feeds

COLUMNS = ("model", "inputs", "outputs", "inner tensors", "arise in", "outputs on this CPU")

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
    p.add_argument("--seeds", type=int, default=8, metavar="N", help="random inputs (%(default)s)")
    return p


def main() -> None:
    options = parser().parse_args()
    print(f"| {' | '.join(COLUMNS)} |")
    print(f"|{'---|' * len(COLUMNS)}")
    for name in options.models:
        compiled = through_binary(find_model(name), options.target)
        random = [random_feeds(proto(name), seed) for seed in range(options.seeds)]
        for label, inputs in (("kept", [saved(name)[0]]), (f"{len(random)} random", random)):
            cells = compare(name, compiled, inputs)
            print(f"| {name} | {label} | {' | '.join(cells)} |", flush=True)


def compare(name: str, compiled: Compiled, inputs: Sequence[Arrays]) -> list[str]:
    """The cells of a row."""
    reference, plain = Reference(proto(name)), session(proto(name))
    got = [compiled.run(feeds) for feeds in inputs]
    exact = [reference.outputs(feeds) for feeds in inputs]
    inner = [reference.inner(feeds) for feeds in inputs]
    ours = [compiled.inner(feeds) for feeds in inputs]
    names = list(exact[0]) if exact else []
    usual = [dict(zip(names, plain.run(names, dict(feeds)), strict=True)) for feeds in inputs]
    causes: Counter[str] = Counter()
    for feeds, known in zip(inputs, inner, strict=True):
        causes += arising(compiled.artifact.graph, feeds, known)
    return [
        str(count(zip(got, exact, strict=True))),
        str(count(zip(ours, inner, strict=True))),
        ", ".join(f"{op} {n}" for op, n in sorted(causes.items())) or "-",
        str(count(zip(got, usual, strict=True))),
    ]


def count(pairs: Iterable[tuple[Arrays, Arrays]]) -> Count:
    """Over pairs of dictionaries, the elements of the arrays that both have."""
    elements = different = 0
    for ours, theirs in pairs:
        for name in ours.keys() & theirs.keys():
            elements += theirs[name].size
            different += int(np.count_nonzero(ours[name] != theirs[name]))
    return Count(elements, different)


def arising(graph: Graph, feeds: Arrays, reference: Arrays) -> Counter[str]:
    """Per operator, the elements that differ though its inputs are those of `reference`."""
    found: Counter[str] = Counter()
    values = dict(feeds)
    for node in graph.nodes:
        for step in node.body if node.op == "group" else (node,):
            execute(graph, step, values)
            for name in reference.keys() & set(step.outputs):
                found[step.op] += int(np.count_nonzero(values[name] != reference[name]))
                values[name] = reference[name]
    return +found


if __name__ == "__main__":
    main()
