"""One model on one target, in this process alone: its costs as JSON, its values as a file.

    python -m benchmarks.light.cell MODEL.onnx TARGET EXPECTED.npz OUT.npz

The values are those of the binary's bytes, on the input in EXPECTED.npz: `inner` as the network
runs, `alone` where each node reads what onnxruntime computed, `sum` those of them that hold a
float32 sum of onnxruntime's. Memory is the largest resident set of the process until the outputs
are there, in bytes.
"""

import json
import sys
import time
from collections import Counter
from typing import Any

from benchmarks.coverage import hosts, macs, part_of
from benchmarks.light.files import group, save
from benchmarks.once import resident
from dnncc.driver import Artifact, compile_model
from dnncc.frontend.importer import import_model
from dnncc.ir.graph import Graph
from dnncc.isa import elf
from dnncc.options import Options
from dnncc.runtime import load
from tests.e2e.running import Compiled


def main() -> None:
    model, target, expected, out = sys.argv[1:]
    feeds = group(expected, "input")
    start = time.process_time()
    artifact = compile_model(model, Options(target=target, cache=False))
    compiled = time.process_time()
    session = load(elf.write(artifact.image))
    names = [t.name for t in session.get_outputs()]
    outputs = dict(zip(names, session.run(None, feeds), strict=True))
    costs = {"compile": compiled - start, "run": time.process_time() - compiled}
    costs["bytes"] = resident("VmHWM")
    watched, theirs = Compiled(artifact, session), group(expected, "inner")
    alone = watched.inner(feeds, forced=theirs)
    summed = holding(artifact.graph, set(group(expected, "sum"))) & alone.keys()
    sums = {name: alone[name] for name in summed}
    save(out, {"output": outputs, "inner": watched.inner(feeds), "alone": alone, "sum": sums})
    print(json.dumps(costs | placed(artifact, import_model(model))))


def holding(graph: Graph, sums: set[str]) -> set[str]:
    """Of `sums`, and of the groups that have taken one in, the results."""
    groups = (node for node in graph.nodes if node.op == "group")
    taken = (g.outputs for g in groups if any(not sums.isdisjoint(n.outputs) for n in g.body))
    return sums.union(*taken)


def placed(artifact: Artifact, source: Graph) -> dict[str, Any]:
    """The share of multiply-accumulates on the accelerator, and the operators that are not."""
    parts = [part_of(artifact.graph, host) for host in hosts(artifact.graph)]
    left = sum(map(macs, parts))
    operators = Counter(node.op.removeprefix("onnx.") for part in parts for node in part.nodes)
    return {"share": 1 - left / max(macs(source), 1), "host": dict(operators)}


if __name__ == "__main__":
    main()
