"""What is resident has its bytes to itself while it lives, and leaves room for tiles."""

import pytest
from hypothesis import given as sampled
from hypothesis import settings
from hypothesis import strategies as st

from dnncc.ir.graph import Graph
from dnncc.mapping.given import Given
from dnncc.mapping.nodes import names_of
from dnncc.memory.lifetimes import lifetimes
from dnncc.passes.context import Context
from dnncc.passes.pack_parameters import pack_parameters
from dnncc.passes.place_buffers import place_buffers

from ..graphs import GraphBuilder
from ..lowering import target

ODD = target("odd-13x7")
WIDE = target("eyeriss-like")


@st.composite
def branching(draw: st.DrawFn) -> Graph:
    """Additions and copies of values of one shape, or two."""
    build = GraphBuilder(draw(st.integers(0, 99)))
    shapes = [(1, draw(st.integers(1, 40)), draw(st.integers(1, 40))) for _ in range(2)]
    values = {shape: [build.input(shape)] for shape in shapes}
    quant = build.tensors["x0"].quant
    for _ in range(draw(st.integers(1, 10))):
        known = values[draw(st.sampled_from(shapes))]
        a, b = draw(st.sampled_from(known)), draw(st.sampled_from(known))
        if a == b:
            known.append(build.group(build.node("copy", [a], quant=quant)))
        else:
            known.append(build.group(build.node("add", [a, b], quant=quant)))
    used = {i for n in build.nodes for i in n.inputs}
    made = [n.outputs[0] for n in build.nodes]
    return build.graph(*(name for name in made if name not in used))


@settings(max_examples=120, deadline=None, derandomize=True)
@sampled(branching(), st.sampled_from([ODD, WIDE]))
def test_residents_that_live_together_are_apart(graph: Graph, machine: object) -> None:
    wide = machine is WIDE
    memory = (WIDE if wide else ODD).memories[0]
    placed = place_buffers(graph, Context(WIDE if wide else ODD))
    spans = lifetimes(placed)
    rooms = {
        name: (t.address, t.address + t.size * (2 if wide else 1))
        for name, t in placed.tensors.items()
        if t.memory == memory.name
    }
    assert not set(rooms) & {*graph.inputs, *graph.outputs}
    for index, node in enumerate(placed.nodes):
        alive = sorted(r for n, r in rooms.items() if spans[n][0] <= index <= spans[n][1])
        starts = [start for start, _ in alive]
        assert all(stop <= start for (_, stop), start in zip(alive, starts[1:], strict=False))
        assert all(0 <= start and stop <= memory.bytes for start, stop in alive)
        assert node.attrs["free"][memory.name] == min([memory.bytes, *starts])


def chain(rows: int) -> Graph:
    build = GraphBuilder(0)
    x = build.input((1, 2, rows, 20))
    quant = build.tensors[x].quant
    for _ in range(3):
        x = build.group(build.node("copy", [x], quant=quant))
    return build.graph(x)


def test_a_chain_that_fits_stays_on_chip() -> None:
    """Two of 2000 bytes: the first is dead when the third group writes the output, to DRAM."""
    placed = place_buffers(chain(50), Context(ODD))
    homes = [placed.tensors[n.outputs[0]].memory for n in placed.nodes]
    assert homes == ["spad", "spad", "dram"]


def test_one_that_takes_the_tiles_room_does_not() -> None:
    """6000 bytes of 9000 are more than the half that is left for tiles."""
    placed = place_buffers(chain(150), Context(ODD))
    assert {t.memory for t in placed.tensors.values()} == {"dram"}


@pytest.mark.parametrize("steps, home", [({}, "dram"), ({"p": 1}, "spad")])
def test_residents_give_way_to_tiles_that_are_given(steps: dict[str, int], home: str) -> None:
    """3120 of 9000 bytes live across a copy, whose whole tile takes twice as many."""
    build = GraphBuilder(0)
    shape = (1, 2, 78, 20)
    x, other = build.input(shape), build.input(shape)
    quant = build.tensors[x].quant
    kept = build.group(build.node("copy", [x], quant=quant))
    between = build.group(build.node("copy", [other], quant=quant))
    last = build.group(build.node("copy", [kept], quant=quant))
    graph = build.graph(between, last)
    assert place_buffers(graph, Context(ODD)).tensors[kept].memory == "spad"
    name = names_of(graph.nodes[1])[0]
    wish = Given(name, steps=steps, order=tuple(steps))
    placed = place_buffers(graph, Context(ODD, mapping={name: wish}))
    assert placed.tensors[kept].memory == home


def test_weights_of_a_product_that_are_computed_lie_where_weights_may() -> None:
    """tpu-like reads weights from a memory of their own, so they cannot stay in another."""
    build = GraphBuilder(0)
    a, raw = build.input((2, 8, 16)), build.input((2, 16, 8))
    b = build.group(build.node("copy", [raw], quant=build.tensors[raw].quant))
    y = build.group(build.node("matmul", [a, b], quant=build.tensors[raw].quant))
    ctx = Context(target("tpu-like"))
    placed = place_buffers(pack_parameters(build.graph(y), ctx), ctx)
    assert placed.tensors[b].memory == "dram"
    ctx = Context(WIDE)
    placed = place_buffers(pack_parameters(build.graph(y), ctx), ctx)
    assert placed.tensors[b].memory == "glb"
