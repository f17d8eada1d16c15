"""What of float models runs on the accelerator, and how the results compare to onnxruntime's.

    python -m benchmarks.coverage [MODEL ...] [--targets NAME|FILE ...] [--precision P] [--no-run]

A line per model and target: its multiply-accumulates, which share of them is on the accelerator,
elements of the outputs that differ from the same quantised ONNX model in onnxruntime, and how far
the farthest is, as a share of the largest element of its output. Below it, each operator that runs
on the host, with the reason.
"""

import argparse
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from math import prod
from typing import Any

import numpy as np
from onnx import ModelProto

from dnncc.diagnostics import Remarks
from dnncc.driver import Artifact, compile_model, lower, quantised_model
from dnncc.frontend.importer import import_model
from dnncc.ir.graph import Graph, Node, Tensor
from dnncc.isa import elf
from dnncc.levels import PRECISIONS
from dnncc.options import Options
from dnncc.passes.pipeline import PIPELINE
from dnncc.runtime import load
from tests.e2e.reference import session
from tests.models import FLOAT, SHAPES, find_model, random_feeds

COLUMNS = ("model", "target", "precision", "MACs", "on accelerator", "different", "farthest")
RECURRENT = {"onnx.LSTM": 4, "onnx.GRU": 3, "onnx.RNN": 1}


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser("benchmarks.coverage", description="What runs where.")
    p.add_argument("models", nargs="*", default=FLOAT, help="folders of the models' folder")
    p.add_argument("--targets", nargs="+", default=["eyeriss-like", "tpu-like"], metavar="T")
    p.add_argument("--precision", choices=PRECISIONS, default="auto")
    p.add_argument("--no-run", action="store_true", help="say what would run where, and no more")
    return p


def main() -> None:
    options = parser().parse_args()
    print(f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}")
    for name in options.models:
        for target in options.targets:
            wanted = Options(
                target=target, shapes=SHAPES.get(name, {}), precision=options.precision
            )
            report(name, wanted, run=not options.no_run)


def report(name: str, options: Options, run: bool) -> None:
    remarks = Remarks()
    model = quantised_model(str(find_model(name)), options, remarks)
    artifact = compile_model(model, options) if run else None
    graph = artifact.graph if artifact else partitioned(model, options)
    every, left = macs(import_model(model)), sum(macs(part_of(graph, n)) for n in hosts(graph))
    cells = [name, options.target, str(remarks.quantisation.get("precision", "float"))]
    cells += [f"{every:,}", f"{1 - left / max(every, 1):.2%}"]
    cells += differences(artifact, model) if artifact else ["", ""]
    print(f"| {' | '.join(cells)} |", flush=True)
    for what, times in refusals(graph).items():
        print(f"|   | {times} x {what}", flush=True)


def partitioned(model: ModelProto, options: Options) -> Graph:
    """The Graph when it is decided what runs where."""
    last = next(i for i, step in enumerate(PIPELINE) if step.name == "partition")
    graph = lower(import_model(model), PIPELINE[: last + 1], options)
    assert isinstance(graph, Graph)
    return graph


def hosts(graph: Graph) -> Iterator[Node]:
    return (node for node in graph.nodes if node.op == "host")


NAME = re.compile(r"(its [a-z]+ )?'[^']*'")
"""Of a tensor, which would tell equal reasons apart."""


def part_of(graph: Graph, host: Node) -> Graph:
    return graph.with_nodes(host.body)


def refusals(graph: Graph) -> Counter[str]:
    """Operator and reason of the nodes on the host."""
    found: Counter[str] = Counter()
    for host in hosts(graph):
        named = {n.loc[0]: n.op.removeprefix("onnx.") for n in host.body}
        pairs = zip(host.attrs["refused"], host.attrs["reason"], strict=True)
        found.update(f"{named[node]}: {re.sub(NAME, 'it', why)}" for node, why in pairs)
    return found


def macs(graph: Graph) -> int:
    """Multiply-accumulates of the ONNX nodes, as their definitions have them."""
    return sum(work(node, graph.tensors) for node in graph.nodes)


def work(node: Node, tensors: Mapping[str, Tensor]) -> int:
    if node.op in RECURRENT:
        steps, batch, width = tensors[node.inputs[0]].shape
        directions, gates, _ = tensors[node.inputs[1]].shape
        return steps * batch * directions * gates * (width + gates // RECURRENT[node.op])
    if node.op not in ("onnx.Conv", "onnx.ConvTranspose", "onnx.MatMul", "onnx.Gemm"):
        return 0
    a, b = (tensors[name] for name in node.inputs[:2])
    y = tensors[node.outputs[0]]
    if node.op == "onnx.ConvTranspose":
        return a.size * prod(b.shape[1:])
    depth = prod(b.shape[1:]) if node.op == "onnx.Conv" else reduced(node, a.shape)
    return y.size * depth


def reduced(node: Node, shape: tuple[int, ...]) -> int:
    return shape[0] if node.attrs.get("transA", 0) else shape[-1]


def differences(artifact: Artifact, model: ModelProto) -> list[str]:
    feeds = random_feeds(model, 0)
    wanted = session(model).run(None, dict(feeds))
    got = load(elf.write(artifact.image)).run(None, feeds)
    pairs = list(zip(got, wanted, strict=True))
    different = sum(int(np.count_nonzero(a != b)) for a, b in pairs)
    size = sum(b.size for _, b in pairs)
    return [f"{different:,} of {size:,}", f"{max(map(farthest, pairs)):.2g}"]


def farthest(pair: Iterable[Any]) -> float:
    ours, theirs = (np.asarray(v, np.float64) for v in pair)
    most = np.abs(theirs).max(initial=0.0)
    return float(np.abs(ours - theirs).max(initial=0.0) / (most or 1.0))


if __name__ == "__main__":
    main()
