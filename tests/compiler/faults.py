"""Faults planted in what a pass made, outside of the passes: the pipeline is data."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from msgspec.structs import replace

from dnncc.codegen.stream import Stream
from dnncc.ir.graph import Graph, Node, View
from dnncc.ir.tile import Compute, Dim, Load, Loop, Nest, Operand, Step, Store, TileProgram
from dnncc.isa.core import NO_WAIT
from dnncc.isa.program import WAIT_NAMES
from dnncc.passes.context import Context
from dnncc.passes.pipeline import PIPELINE, Pass

Change = Callable[[Any], Any]


def planted(name: str, change: Change, pipeline: Sequence[Pass] = PIPELINE) -> tuple[Pass, ...]:
    """The pipeline in which pass `name` makes `change` of what it ought to make."""

    def faulty(step: Pass) -> Pass:
        def run(program: Any, ctx: Context) -> Any:
            made = change(step.run(program, ctx))
            assert made is not None, f"the fault in {name} found nothing to spoil"
            return made

        return replace(step, run=run, instead=None)

    assert any(step.name == name for step in pipeline)
    return tuple(faulty(step) if step.name == name else step for step in pipeline)


def on_node(op: str, change: Callable[[Node], Node]) -> Change:
    """Change the first node of that operator, in a group or not."""

    def spoil(graph: Graph) -> Graph | None:
        nodes = list(graph.nodes)
        for index, node in enumerate(nodes):
            if node.op == op:
                nodes[index] = change(node)
                return replace(graph, nodes=tuple(nodes))
            for place, inner in enumerate(node.body):
                if inner.op == op:
                    body = (*node.body[:place], change(inner), *node.body[place + 1 :])
                    nodes[index] = replace(node, body=body)
                    return replace(graph, nodes=tuple(nodes))
        return None

    return spoil


def with_attrs(**changes: Any) -> Callable[[Node], Node]:
    return lambda node: replace(node, attrs={**node.attrs, **changes})


def mapped(graph: Graph) -> Graph:
    """With mappings that leave no doubt where loops are: two tiles of channels, four of sums."""
    channels, pooled = {"k": 8, "c": 4}, {"k": 6}
    orders = {"b": (channels, ("k", "c")), "y": (pooled, ("k",))}

    def one(node: Node) -> Node:
        inner = node.body[0].outputs[0] if node.body else ""
        if inner not in orders:
            return node
        steps, order = orders[inner]
        old = node.attrs["mapping"]
        dims = {v: graph_dims(graph, inner)[v] for v in old["steps"]}
        roles = ("weight", "ifmap", "params", "side_a", "side_b", "psum", "out")
        slots = {role: 2 for role in roles if role in old["slots"]}
        new = {"steps": dims | steps, "order": order, "resident": (), "slots": slots}
        return replace(node, attrs={**node.attrs, "mapping": new})

    return replace(graph, nodes=tuple(map(one, graph.nodes)))


def graph_dims(graph: Graph, name: str) -> dict[str, int]:
    n, k, p, q = graph.tensors[name].shape
    return {"n": n, "g": 1, "k": k, "c": k, "p": p, "q": q}


def on_tensor(name: str, **changes: Any) -> Change:
    def spoil(graph: Graph) -> Graph:
        tensor = replace(graph.tensors[name], **changes)
        return replace(graph, tensors={**graph.tensors, name: tensor})

    return spoil


def on_view(name: str, shift: int) -> Change:
    def spoil(graph: Graph) -> Graph:
        view = graph.tensors[name].view
        assert view is not None
        moved = View(view.root, view.offset + shift, view.strides)
        changed: Graph = on_tensor(name, view=moved)(graph)
        return changed

    return spoil


def on_constant(name: str, change: Callable[[Any], Any]) -> Change:
    def spoil(graph: Graph) -> Graph:
        return replace(graph, constants={**graph.constants, name: change(graph.constants[name])})

    return spoil


def on_step(node: str, wanted: Callable[[Step], bool], change: Callable[[Any], Any]) -> Change:
    """Change the first such step of the nest of ONNX node `node`; None drops it."""

    def spoil(program: TileProgram) -> TileProgram | None:
        nests = list(program.nests)
        (index,) = [i for i, nest in enumerate(nests) if node in nest.loc]
        body = tuple(rewritten(nests[index].body, wanted, change, []))
        if body == nests[index].body:
            return None
        nests[index] = replace(nests[index], body=body)
        return replace(program, nests=tuple(nests))

    return spoil


def rewritten(
    body: tuple[Loop | Step, ...],
    wanted: Callable[[Step], bool],
    change: Callable[[Step], Any],
    done: list[Step],
) -> Iterator[Loop | Step]:
    for item in body:
        if isinstance(item, Loop):
            yield replace(item, body=tuple(rewritten(item.body, wanted, change, done)))
        elif not done and wanted(item):
            done.append(item)
            new = change(item)
            if new is not None:
                yield new
        else:
            yield item


def on_nest(node: str, change: Callable[[Nest], Nest]) -> Change:
    def spoil(program: TileProgram) -> TileProgram:
        return replace(
            program, nests=tuple(change(n) if node in n.loc else n for n in program.nests)
        )

    return spoil


def loads(tensor: str) -> Callable[[Step], bool]:
    return lambda step: isinstance(step, Load) and step.out.tensor == tensor


def stores(tensor: str) -> Callable[[Step], bool]:
    return lambda step: isinstance(step, Store) and step.source.tensor == tensor


def computes(op: str) -> Callable[[Step], bool]:
    return lambda step: isinstance(step, Compute) and step.op == op


def with_operand(role: str, change: Callable[[Operand], Operand]) -> Callable[[Any], Any]:
    def spoil(step: Compute) -> Compute:
        return replace(step, operands={**step.operands, role: change(step.operands[role])})

    return spoil


def with_dim(index: int, change: Callable[[Dim], Dim]) -> Callable[[Operand], Operand]:
    def spoil(operand: Operand) -> Operand:
        box = list(operand.box)
        box[index] = change(box[index])
        return replace(operand, box=tuple(box))

    return spoil


def on_records(mnemonic: str, **changes: int) -> Change:
    """Change fields of all instructions of a class."""

    def spoil(stream: Stream) -> Stream | None:
        pieces = list(stream.pieces)
        hit = False
        for index, piece in enumerate(pieces):
            if piece.step.startswith(mnemonic):
                records = piece.records.copy()
                for name, value in changes.items():
                    records[name] = value
                pieces[index] = replace(piece, records=records)
                hit = True
        return replace(stream, pieces=tuple(pieces)) if hit else None

    return spoil


def on_address(name: str, shift: int) -> Change:
    """Move the storage of a value in its memory, after addresses are given."""

    def spoil(program: TileProgram) -> TileProgram:
        address = program.graph.tensors[name].address + shift
        return replace(program, graph=on_tensor(name, address=address)(program.graph))

    return spoil


def without_waits(stream: Stream) -> Stream:
    """Nothing waits for loads or stores."""
    pieces = []
    for piece in stream.pieces:
        records = piece.records.copy()
        for name in WAIT_NAMES[:2]:
            records[name] = NO_WAIT
        pieces.append(replace(piece, records=records))
    return replace(stream, pieces=tuple(pieces))


def truncated(table: Any) -> Any:
    """Scales cut to 16 bits, not rounded to 32."""
    cut = table.copy()
    cut[:, 1] = cut[:, 1] & np.int32(-65536)
    return cut
