"""A Tile program computes what its Graph does; what is wrong in it shows, before any address."""

from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace

from dnncc.diagnostics import CompileError
from dnncc.ir.graph import Graph
from dnncc.ir.interpret import interpret
from dnncc.ir.tile import Compute, Dim, Load, Loop, Nest, Operand, Step, TileProgram
from dnncc.ir.tile_interpret import interpret_tile

from ..graphs import GraphBuilder
from ..lowering import TARGETS, front, target, tiled, tiled_model
from ..random_groups import random_feeds, random_graph

MODELS = ("mlperf_tiny_ic_resnet8_int8", "mlperf_tiny_kws_dscnn_int8")
CASES: list[Any] = [(name, model) for name in TARGETS for model in MODELS]
CASES += [
    pytest.param(name, "coral_mobilenet_v1_025_128_int8", marks=pytest.mark.slow)
    for name in TARGETS
]


def assert_same_values(program: TileProgram, graph: Graph, feeds: dict[str, Any]) -> None:
    wanted, got = interpret(graph, feeds), interpret_tile(program, feeds)
    assert set(graph.outputs) <= got.keys()
    for name in wanted.keys() & got.keys():
        np.testing.assert_array_equal(got[name], wanted[name], name)


@pytest.mark.parametrize(("name", "model"), CASES)
def test_models_compute_the_same(name: str, model: str) -> None:
    graph = front(model)
    rng = np.random.default_rng(7)
    feeds = {i: random_value(graph, i, rng) for i in graph.inputs}
    assert_same_values(tiled_model(model, name), graph, feeds)


def random_value(graph: Graph, name: str, rng: np.random.Generator) -> Any:
    tensor = graph.tensors[name]
    if tensor.dtype.kind == "f":
        return rng.standard_normal(tensor.shape).astype(tensor.dtype)
    info = np.iinfo(tensor.dtype)
    return rng.integers(info.min, info.max + 1, tensor.shape).astype(tensor.dtype)


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("name", TARGETS)
def test_random_groups_compute_the_same(name: str, seed: int) -> None:
    graph = random_graph(seed)
    assert_same_values(tiled(graph, target(name)), graph, random_feeds(graph, seed))


def conv_graph() -> Graph:
    """One 3x3 convolution that the odd target's 9000 bytes force into tiles."""
    build = GraphBuilder(1)
    x = build.input((1, 12, 20, 21))
    weight = build.constant(build.integers((24, 12, 3, 3), "int8"), build.tensors[x].quant)
    y = build.group(build.conv(x, weight, pads=(1, 1, 1, 1)))
    return build.graph(y)


def with_step(nest: Nest, change: Any) -> Nest:
    """The nest with `change` applied to each of its steps."""

    def body(items: tuple[Loop | Step, ...]) -> tuple[Loop | Step, ...]:
        return tuple(
            replace(i, body=body(i.body)) if isinstance(i, Loop) else change(i) for i in items
        )

    return replace(nest, body=body(nest.body))


def halo_one_up(step: Step) -> Step:
    """The convolution reads a row higher than was loaded."""
    if not (isinstance(step, Load) and step.out.buffer == "ifmap"):
        return step
    rows: Dim = step.out.box[2]
    box = (*step.out.box[:2], replace(rows, offset=rows.offset + 1), step.out.box[3])
    return Load(replace(step.out, box=box))


def other_slot(step: Step) -> Step:
    """The array takes its weights from a slot that a loop less decides."""
    if not (isinstance(step, Compute) and step.op == "tensor"):
        return step
    weight: Operand = step.operands["weight"]
    return replace(step, operands={**step.operands, "weight": replace(weight, slots=())})


def never_from_zero(step: Step) -> Step:
    """Sums go on from those of the tile before."""
    return replace(step, accumulate=("p",)) if isinstance(step, Compute) else step


@pytest.mark.parametrize("fault", [halo_one_up, other_slot, never_from_zero])
def test_a_wrong_step_shows(fault: Any) -> None:
    graph = conv_graph()
    program = tiled(graph, target("odd-13x7"))
    feeds = random_feeds(graph, 3)
    assert_same_values(program, graph, feeds)
    (nest,) = program.nests
    assert with_step(nest, fault) != nest
    broken = replace(program, nests=(with_step(nest, fault),))
    try:
        got = interpret_tile(broken, feeds)
    except CompileError as error:
        assert nest.loc[0] in str(error)
    else:
        output = graph.outputs[0]
        assert (got[output] != interpret(graph, feeds)[output]).any()
