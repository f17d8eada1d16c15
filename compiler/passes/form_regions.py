"""After it, steps of the vector engine that only serve one result are a group with it.

What lies between them stays in tiles. A `dequantize` that several groups read is in each of them:
that is less to move than its float32 result.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from dnncc.targets import Target

from ..ir.edit import Editor
from ..ir.graph import Graph, Node
from ..mapping.cost import Problem
from ..mapping.lowering import workload
from ..mapping.smallest import smallest
from ..ops.lanes import lane, region
from .context import Context
from .fuse import group

MOST = 48
"""Nodes of a region: each reads and writes a tile."""


def form_regions(graph: Graph, ctx: Context) -> Graph:
    regions = Regions(graph, ctx.target)
    for node in reversed(graph.nodes):
        if lane(node) is not None and node.op != "dequantize":
            regions.place(node)
    edit = Editor(graph)
    for node in graph.nodes:
        body = regions.bodies.get(node.outputs[0])
        if body is not None:
            edit.emit(group(with_inputs(edit, body)))
        elif node.outputs[0] not in regions.home:
            edit.emit(node)
    return edit.finish()


class Regions:
    """`bodies`, by their results, in execution order; `home` says in which one a node is."""

    def __init__(self, graph: Graph, target: Target | None) -> None:
        self.graph, self.target = graph, target
        self.users, self.made = graph.consumers(), graph.producers()
        self.bodies: dict[str, tuple[Node, ...]] = {}
        self.home: dict[str, str] = {}

    def place(self, node: Node) -> None:
        """In the region of all its readers, or in a new one."""
        (name,) = node.outputs
        homes = {self.home.get(user.outputs[0], "") for user in self.users.get(name, ())}
        home = homes.pop() if len(homes) == 1 and name not in self.graph.outputs else ""
        if not home or not self.accepts((node, *self.bodies[home])):
            home = name
        self.home[name] = home
        self.bodies[home] = (node, *self.bodies.get(home, ()))

    def accepts(self, body: tuple[Node, ...]) -> bool:
        """Whether the loops of all can be the same, and their smallest tiles fit."""
        try:
            _, folded = region(body, self.graph.tensors)
        except ValueError:
            return False
        if len(body) > MOST or not folded or self.target is None:
            return len(body) <= MOST
        problem = Problem(
            workload(group(body), self.graph, self.target), self.graph, self.target, {}
        )
        rooms = {memory.name: memory.bytes for memory in self.target.memories}
        return all(2 * need <= rooms[name] for name, need in smallest(problem).items())


def with_inputs(edit: Editor, body: Sequence[Node]) -> tuple[Node, ...]:
    """The body, and before it the `dequantize` of each of its inputs that is one."""
    renamed: dict[str, str] = {}
    first: list[Node] = []
    for name in dict.fromkeys(i for node in body for i in node.inputs):
        source = edit.producer(name)
        if source is not None and source.op == "dequantize":
            renamed[name] = edit.like(name, f"{name}.inside")
            first.append(replace(source, outputs=(renamed[name],)))
    rest = (replace(node, inputs=tuple(renamed.get(i, i) for i in node.inputs)) for node in body)
    return *first, *rest
