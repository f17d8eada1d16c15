"""The mapping of every node as an annotated loop nest: --emit mapping.

On the left is where a loop's iterations get their operands from: `dram` for loops over tiles, the
scratchpads' names for what the array goes through, `array` for what is done side by side, `rf` for
what a PE does with what it keeps.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from dnncc.targets import Target, dataflow

from ..codegen import tensor
from ..codegen.locate import Site
from ..ir.graph import Graph
from ..ir.tile import Buffer, Compute, Load, Loop, Nest, Operand, Step, Store, TileProgram, unroll
from ..ir.tile import steps as steps_of
from ..mapping.nodes import titles

Line = tuple[str, int, str]
"""What stands on the left, how deep the text is, and the text."""


def mapping_text(tile: TileProgram, target: Target) -> str:
    """All nests of a program whose buffers have addresses."""
    nodes = [n for n in tile.graph.nodes if n.op in ("group", "host")]
    nests = {id(node): nest for node, nest in zip(nodes, tile.nests, strict=True)}
    texts = (
        nest_text(name, site(tile.graph, target, nests[id(n)])) for name, n in titles(tile.graph)
    )
    return "\n\n".join(texts) + "\n"


def site(graph: Graph, target: Target, nest: Nest) -> Site:
    return Site(graph, target, nest, {b.name: b for b in nest.buffers})


def nest_text(name: str, at: Site) -> str:
    """A title, buffers, and the loops with what is in them."""
    nest = at.nest
    more = f" + {len(nest.loc) - 1}" if len(nest.loc) > 1 else ""
    sizes = " ".join(f"{var}={extent}" for var, extent in nest.dims.items())
    rows = [*buffer_lines(nest), *resident_lines(at), *body_lines(at, nest.body, 0)]
    width = max(len(level) for level, _, _ in rows)
    lines = (f"{level:>{width}} | {'  ' * depth}{text}" for level, depth, text in rows)
    return "\n".join(map(printable, (f"node '{name}'{more}: {nest.op} {sizes}", *lines)))


def printable(text: str) -> str:
    """Names of a model may hold anything; a line has no control codes."""
    return "".join(c if c.isprintable() else "?" for c in text)


def buffer_lines(nest: Nest) -> Iterator[Line]:
    whole = {o.buffer for o in operands(nest) if o.whole}
    yield from (buffer_line(b, b.name in whole) for b in nest.buffers)


def buffer_line(buffer: Buffer, whole: bool) -> Line:
    slots = f"{buffer.slots} slots of " if buffer.slots > 1 else ""
    shape = "x".join(map(str, buffer.shape))
    size = f"{slots}{buffer.slot_bytes:,} bytes, {buffer.dtype}[{shape}]"
    kept = ", whole" if whole else f", a ring along {buffer.ring}" if buffer.ring else ""
    return (buffer.memory, 0, f"buffer {buffer.name}: {size}{kept}")


def operands(nest: Nest) -> Iterator[Operand]:
    for step in steps_of(nest.body):
        if isinstance(step, Compute):
            yield from step.operands.values()


def resident_lines(at: Site) -> Iterator[Line]:
    """Tensors that stay in a scratchpad between nests."""
    names = dict.fromkeys(o.tensor for o in operands(at.nest) if not o.buffer)
    for name in names:
        tensor = at.graph.tensors[name]
        what = f"head of '{name}'" if tensor.head else f"resident '{name}'"
        yield ((tensor.head or tensor).memory, 0, what)


def body_lines(at: Site, body: tuple[Loop | Step, ...], depth: int) -> Iterator[Line]:
    for item in body:
        if isinstance(item, Loop):
            step = f":{item.step}" if item.step > 1 else ""
            yield ("dram", depth, f"for {item.var} in {item.begin}:{item.stop}{step}")
            yield from body_lines(at, item.body, depth + 1)
        elif isinstance(item, Compute) and item.op == "tensor":
            yield from array_lines(at, item, depth)
        else:
            yield step_line(item, depth)


def step_line(step: Step, depth: int) -> Line:
    if isinstance(step, Load):
        return ("dram", depth, f"load {step.out.buffer}")
    if isinstance(step, Store):
        return ("dram", depth, f"store {step.source.buffer}")
    return ("vector", depth, step.op) if isinstance(step, Compute) else ("host", depth, "call")


class Tile(NamedTuple):
    """The largest tile of a step on the array, its parameters, and how many of `all` are alike."""

    work: dataflow.Work
    params: Any
    alike: int
    all: int


def largest_tile(at: Site, step: Compute) -> Tile:
    env = next(item.env for item in unroll(at.nest) if item.step is step)
    work, params = tensor.tiles(at, step, env)
    first = int(np.argmax(work.macs()))
    sizes = np.concatenate((work.table()[:, :6], params), axis=-1)
    alike = int((sizes == sizes[first]).all(axis=-1).sum())
    return Tile(dataflow.Work.from_table(work.table()[first]), params[first], alike, len(sizes))


def array_lines(at: Site, step: Compute, depth: int) -> Iterator[Line]:
    """What the array does in one tile, as its dataflow says."""
    target, tile = at.target, largest_tile(at, step)
    model = dataflow.model(target)
    values = zip(model.PARAMETERS, tile.params.tolist(), strict=True)
    how = " ".join(f"{name}={value}" for name, value in values)
    share = f", {tile.alike} of {tile.all} tiles" if tile.all > 1 else ""
    yield ("tensor", depth, f"{target.dataflow}: {how}{share}")
    kinds = ("ifmap", "weight", "psum")
    memories = "+".join(dict.fromkeys(target.memory_for(k).name for k in kinds))  # type: ignore[arg-type]
    loops = model.loops(target, tile.work, tile.params)
    for inner, loop in enumerate(loops, 1):
        yield (memories if loop.level == "glb" else loop.level, depth + inner, str(loop))
    yield ("", depth + len(loops) + 1, "mac")
