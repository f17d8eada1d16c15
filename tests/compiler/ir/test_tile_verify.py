"""Tile programs that break a rule are refused, with the ONNX node's name."""

from collections.abc import Callable

import pytest
from msgspec.structs import replace

from dnncc.ir.tile import Buffer, Compute, Dim, Load, Loop, Nest, Step, TileProgram
from dnncc.ir.tile_verify import verify_tile
from dnncc.ir.verify import VerifyError
from dnncc.passes.allocate import allocate
from dnncc.passes.context import Context
from tests.models import QUANTISED

from ..graphs import GraphBuilder
from ..lowering import TARGETS, target, tiled, tiled_model
from ..random_groups import random_graph

ODD = target("odd-13x7")


@pytest.mark.parametrize("model", QUANTISED[:5])
def test_models_are_legal(model: str) -> None:
    machine = target("eyeriss-like")
    program = tiled_model(model, "eyeriss-like")
    verify_tile(program, machine)
    verify_tile(allocate(program, Context(machine)), machine)


@pytest.mark.parametrize("seed", [*range(12), 79])
@pytest.mark.parametrize("name", TARGETS)
def test_random_groups_are_legal(name: str, seed: int) -> None:
    """Of seed 79 a map is loaded whole whose last row no window reads."""
    machine = target(name)
    program = tiled(random_graph(seed), machine)
    verify_tile(program, machine)
    verify_tile(allocate(program, Context(machine)), machine)


def legal() -> TileProgram:
    """Two convolutions; what is between them is resident, and both are tiled."""
    build = GraphBuilder(1)
    x = build.input((1, 12, 20, 21))
    quant = build.tensors[x].quant
    first = build.constant(build.integers((4, 12, 3, 3), "int8"), quant)
    second = build.constant(build.integers((24, 4, 3, 3), "int8"), quant)
    y = build.group(build.conv(x, first, pads=(1, 1, 1, 1)))
    z = build.group(build.conv(y, second, pads=(1, 1, 1, 1)))
    return allocate(tiled(build.graph(z), ODD), Context(ODD))


def with_nest(program: TileProgram, change: Callable[[Nest], Nest]) -> TileProgram:
    return replace(program, nests=(change(program.nests[0]), *program.nests[1:]))


def with_buffer(program: TileProgram, index: int, **changes: object) -> TileProgram:
    def change(nest: Nest) -> Nest:
        buffers = list(nest.buffers)
        buffers[index] = replace(buffers[index], **changes)
        return replace(nest, buffers=tuple(buffers))

    return with_nest(program, change)


Body = tuple[Loop | Step, ...]


def with_items(program: TileProgram, change: Callable[[Loop | Step], Loop | Step]) -> TileProgram:
    def items(body: Body) -> Body:
        made = [change(i) for i in body]
        return tuple(replace(i, body=items(i.body)) if isinstance(i, Loop) else i for i in made)

    return with_nest(program, lambda nest: replace(nest, body=items(nest.body)))


def loops(**changes: object) -> Callable[[Loop | Step], Loop | Step]:
    return lambda i: replace(i, **changes) if isinstance(i, Loop) else i


def loads(**changes: object) -> Callable[[Loop | Step], Loop | Step]:
    def change(item: Loop | Step) -> Loop | Step:
        if not isinstance(item, Load):
            return item
        return Load(replace(item.out, **changes))

    return change


def computes(**changes: object) -> Callable[[Loop | Step], Loop | Step]:
    return lambda i: replace(i, **changes) if isinstance(i, Compute) else i


def shrunk(program: TileProgram) -> TileProgram:
    """Loops of fewer, larger tiles than the buffers have room for."""
    return with_items(program, lambda i: replace(i, step=i.extent) if isinstance(i, Loop) else i)


def doubled(buffer: Buffer) -> Buffer:
    return replace(buffer, slots=buffer.slots * 40, address=-1)


FAULTS: dict[str, Callable[[TileProgram], TileProgram]] = {
    "nests for": lambda p: replace(p, nests=p.nests[:1]),
    "no memory": lambda p: with_buffer(p, 0, memory="l2"),
    "does not hold": lambda p: with_buffer(p, 0, kind="code"),
    "0 slots": lambda p: with_buffer(p, 0, slots=0),
    "one name": lambda p: with_buffer(p, 0, name=p.nests[0].buffers[1].name),
    "which is none of": lambda p: with_items(p, loops(var="z")),
    "covers 7, not": lambda p: with_items(p, loops(extent=7)),
    "at once": lambda p: with_items(p, loops(step=0)),
    "no tensor 'none'": lambda p: with_items(p, loads(tensor="none")),
    "is within": lambda p: with_items(p, loads(box=(Dim(3),))),
    "no buffer 'none'": lambda p: with_items(p, loads(buffer="none")),
    "which is DRAM": lambda p: with_items(p, loads(buffer="")),
    "changes with": lambda p: with_items(p, loads(slots=("z",))),
    "accumulates": lambda p: with_items(p, computes(accumulate=("z",))),
    "bytes, a slot of": shrunk,
    "bytes of 'spad', which has 9000": lambda p: with_nest(
        p, lambda n: replace(n, buffers=tuple(map(doubled, n.buffers)))
    ),
    "ends at byte": lambda p: with_buffer(p, 0, address=8992),
    "overlap in 'spad'": lambda p: with_buffer(p, 0, address=p.nests[0].buffers[1].address),
}


@pytest.mark.parametrize("message", FAULTS)
def test_a_broken_rule_is_named(message: str) -> None:
    program = legal()
    verify_tile(program, ODD)
    with pytest.raises(VerifyError, match=message) as caught:
        verify_tile(FAULTS[message](program), ODD)
    assert caught.value.node in (None, program.nests[0].loc[0])
    assert (caught.value.node is None) == (message == "nests for")


def test_overlap_with_a_resident_tensor_is_named() -> None:
    program = legal()
    graph = program.graph
    resident = next(t for t in graph.tensors.values() if t.memory == "spad")
    moved = replace(resident, address=program.nests[0].buffers[0].address)
    tensors = {**graph.tensors, resident.name: moved}
    with pytest.raises(VerifyError, match=f"'{resident.name}' overlap|overlap in 'spad'"):
        verify_tile(replace(program, graph=replace(graph, tensors=tensors)), ODD)


def test_overlap_in_dram_is_named() -> None:
    program = legal()
    graph = program.graph
    tensors = {
        n: replace(t, address=0) if t.memory == "dram" else t for n, t in graph.tensors.items()
    }
    with pytest.raises(VerifyError, match="overlap in 'dram'"):
        verify_tile(replace(program, graph=replace(graph, tensors=tensors)), ODD)
