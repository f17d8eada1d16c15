"""dnncc-explain: what bounds each layer, why it is tiled so, and what one change would give."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec import Struct
from msgspec.structs import replace

from dnncc.isa.command import finish

from .cli import add_compile_options, options_of, told

if TYPE_CHECKING:  # all else is imported when it is needed: --help has to be quick
    from onnx import ModelProto

    from .driver import Artifact
    from .ir.graph import Graph, Node
    from .mapping.cost import Problem
    from .options import Options

Row = dict[str, Any]

SHOWN = 2
"""Names in an error."""


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser("dnncc-explain", description=(__doc__ or "").partition(": ")[2])
    add = p.add_argument
    add("model", help="an ONNX model")
    add("--node", metavar="NAME", help="one layer, by the name of an ONNX node in it, or a part of "
        "one: also why its tiles are what they are, and other numbers of channels")  # fmt: skip
    add("--no-changes", action="store_true", help="leave out what changes of hardware would give")
    add("--json", action="store_true", help="print all of it as JSON")
    add("-v", "--verbose", action="store_true", help="tracebacks of errors")
    add_compile_options(p)
    return p


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit status."""
    options = parser().parse_args(arguments)
    return finish(lambda: show(options), told, options.verbose)


def show(options: argparse.Namespace) -> None:
    found = explain(options.model, options_of(options), options.node, not options.no_changes)
    print(json.dumps(found, indent=2) if options.json else text(found))


def explain(model: str, options: Options, node: str | None = None, changes: bool = True) -> Row:
    """All that is printed, as plain data: cycles, bounds and gaps of a simulation of what is
    compiled; the same of each change, which is compiled and simulated, too.

    Raises CompileError, TargetError, OSError.
    """
    from .diagnostics import Remarks
    from .driver import naming, quantised_model

    with naming(model):
        source = quantised_model(model, options, Remarks())
        case = Case(source, options)
        found: Row = {"model": model, "target": options.target, **case.outline()}
        if node is not None:
            found |= {"node": case.node(node)}
        if changes:
            found["hardware"] = list(case.hardware())
    return found


class Run(Struct, frozen=True):
    """A program and what it cost."""

    artifact: Artifact
    report: Row

    @classmethod
    def of(cls, artifact: Artifact) -> Run:
        from dnncc.runtime import InferenceSession

        return cls(artifact, InferenceSession(artifact.image).profile.report)

    def layer(self, label: str) -> Row | None:
        return next((row for row in self.report["layers"] if row["node"] == label), None)


class Case:
    """A model for a target, compiled in two parts, so that one mapping can be another one."""

    def __init__(self, source: ModelProto, options: Options) -> None:
        from .diagnostics import Remarks
        from .driver import importing, lower, until
        from .passes.choose_mapping import choose_mapping
        from .passes.pipeline import PIPELINE

        self.source, self.options, self.name = source, options, choose_mapping.__name__
        steps = (importing(source, options, Remarks()), *until(self.name, PIPELINE))
        graph: Any = lower(None, steps, options)
        self.graph: Graph = graph
        self.run = self.finished(self.graph)

    def finished(self, graph: Graph) -> Run:
        """From a graph with mappings to a simulation."""
        from .driver import finish, lower
        from .passes.pipeline import PIPELINE, find

        rest = PIPELINE[PIPELINE.index(find(self.name)) + 1 :]
        stream: Any = lower(graph, rest, replace(self.options, mapping={}))
        return Run.of(finish(stream, self.options))

    def outline(self) -> Row:
        report = self.run.report
        totals = {key: report[key] for key in COSTS}
        return totals | {"energy": report["energy"]["total"], "layers": report["layers"]}

    def node(self, name: str) -> Row:
        """Why a layer is as it is."""
        from .mapping.alternatives import channels
        from .mapping.lowering import workload

        group = self.group(name)
        target = self.run.artifact.target
        label = " + ".join(group.loc)
        known = channels(workload(group, self.graph, target), target)
        return {
            "name": label,
            "layer": self.run.layer(label),
            "mapping": self.nest(group),
            "alternatives": list(self.alternatives(group, label)),
            "channels": [{"loop": c.var, "count": c.count, "cycles": c.cycles} for c in known],
        }

    def group(self, name: str) -> Node:
        """By the name of an ONNX node, or a part that no other one has. Raises CompileError."""
        from .diagnostics import CompileError
        from .mapping.nodes import meanings, stranger

        known = meanings(self.graph)
        if name in known:
            return known[name]
        like = {node.outputs: node for whole, node in known.items() if name in whole}
        if len(like) == 1:
            return next(iter(like.values()))
        some = ", ".join(f"'{node.loc[0]}'" for node in list(like.values())[:SHOWN])
        several = f"it is in {len(like)} names, such as {some}"
        why = several if like else stranger(self.graph, name, list(known))
        raise CompileError(f"--node {name}: {why}")

    def nest(self, group: Node) -> str:
        """The loops, as --emit mapping prints them."""
        from .mapping.nodes import titles

        title = next(name for name, node in titles(self.graph) if node is group)
        texts = self.run.artifact.mapping_text().strip().split("\n\n")
        return next(t for t in texts if t.startswith(f"node '{title}'"))

    def alternatives(self, group: Node, label: str) -> Iterator[Row]:
        """Other mappings of one layer: what it takes with each, and what the whole run does."""
        from .diagnostics import CompileError
        from .mapping.alternatives import alternatives
        from .mapping.mapping import Mapping

        problem = self.problem(group)
        for words, given in alternatives(problem, Mapping.from_attr(group.attrs["mapping"])):
            try:
                yield {"change": words, **self.costs(self.remapped(group, given), label)}
            except CompileError as error:
                yield {"change": words, "refused": error.message}

    def problem(self, group: Node) -> Problem:
        from .mapping.cost import Problem
        from .mapping.lowering import workload

        target = self.run.artifact.target
        load = workload(group, self.graph, target)
        return Problem(load, self.graph, target, group.attrs["free"])

    def remapped(self, group: Node, given: Any) -> Run:
        """With something given of one node's mapping."""
        from .passes.choose_mapping import mapped
        from .passes.context import Context

        ctx = Context(self.run.artifact.target, self.options.level, goal=self.options.goal)
        problem = replace(self.problem(group), given=replace(given, node=group.loc[0]))
        other = mapped(group, problem, ctx, {})
        nodes = tuple(other if node is group else node for node in self.graph.nodes)
        return self.finished(replace(self.graph, nodes=nodes))

    def hardware(self) -> Iterator[Row]:
        """Changes of the target: what the whole run and each layer take with each."""
        from dnncc.targets import TargetError

        from .diagnostics import CompileError
        from .driver import compile_model
        from .variants import variants

        for words, target in variants(self.run.artifact.target):
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / "target.toml"
                path.write_text(target.dumps())
                try:
                    run = Run.of(
                        compile_model(self.source, replace(self.options, target=str(path)))
                    )
                except (CompileError, TargetError) as error:
                    yield {"change": words, "refused": str(error).replace(str(path), "target")}
                    continue
            layers = {row["node"]: row["cycles"] for row in run.report["layers"]}
            yield {"change": words, **self.costs(run, ""), "layers": layers}

    def costs(self, run: Run, label: str) -> Row:
        layer = run.layer(label)
        return {
            "cycles": run.report["cycles"],
            "energy": run.report["energy"]["total"],
            "layer_cycles": layer["cycles"] if layer else None,
        }


COSTS = ("cycles", "bound", "gap", "dram_read_bytes", "dram_written_bytes")


def text(found: Row) -> str:
    """For terminals."""
    from .explanation import described

    return described(found)


if __name__ == "__main__":
    sys.exit(main())
