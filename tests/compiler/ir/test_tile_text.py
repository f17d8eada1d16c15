"""Tile program -> text -> Tile program is the identity; other text is refused."""

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from dnncc.diagnostics import CompileError
from dnncc.ir.graph import Graph
from dnncc.ir.mlir import print_operation
from dnncc.ir.tile import Dim, TileProgram
from dnncc.ir.tile_text import (
    nest_operation,
    parse_dim,
    parse_tile,
    print_dim,
    print_tile,
    resources,
)
from dnncc.mapping.mapping import Mapping
from dnncc.passes.allocate import allocate
from dnncc.passes.context import Context
from dnncc.passes.pack_parameters import pack_parameters
from dnncc.passes.place_buffers import place_buffers
from dnncc.passes.tile_loops import tile_loops
from tests.models import QUANTISED

from ..graphs import GraphBuilder
from ..lowering import TARGETS, target, tiled, tiled_model
from ..random_groups import random_graph


def assert_same(a: TileProgram, b: TileProgram) -> None:
    assert a.nests == b.nests
    one, two = a.graph, b.graph
    assert (one.inputs, one.outputs, one.tensors) == (two.inputs, two.outputs, two.tensors)
    assert one.nodes == two.nodes
    assert one.constants.keys() == two.constants.keys()
    for name, value in one.constants.items():
        np.testing.assert_array_equal(value, two.constants[name])


def assert_survives(program: TileProgram) -> str:
    text = print_tile(program)
    again = parse_tile(text, resources(program.graph))
    assert_same(program, again)
    assert print_tile(again) == text
    return text


LARGE = [pytest.param(model, marks=pytest.mark.slow) for model in QUANTISED[5:]]


@pytest.mark.parametrize("model", [*QUANTISED[:5], *LARGE])
def test_models_print_what_parses_back(model: str) -> None:
    program = tiled_model(model, "eyeriss-like")
    assert_survives(program)
    assert_survives(allocate(program, Context(target("eyeriss-like"))))


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("name", TARGETS)
def test_random_groups_print_what_parses_back(name: str, seed: int) -> None:
    machine = target(name)
    assert_survives(allocate(tiled(random_graph(seed), machine), Context(machine)))


def small() -> Graph:
    build = GraphBuilder(1)
    x = build.input((1, 12, 20, 21))
    weight = build.constant(build.integers((24, 12, 3, 3), "int8"), build.tensors[x].quant)
    residual = build.input((1, 24, 20, 21))
    conv = build.conv(x, weight, pads=(1, 1, 1, 1))
    total = build.node("add", [conv.outputs[0], residual], quant=build.tensors[x].quant)
    return build.graph(build.group(conv, total))


MAPPING = Mapping(
    steps={"n": 1, "g": 1, "k": 12, "c": 4, "p": 2, "q": 21},
    order=("p", "k", "c"),
    resident=("weight", "params"),
    slots={"weight": 1, "params": 1, "ifmap": 2, "side_b": 2, "psum": 2, "out": 2},
)


def test_small_nest_prints(golden: Callable[[str], None]) -> None:
    """Its mapping is given, so that a better search changes nothing here."""
    ctx = Context(target("odd-13x7"))
    graph = place_buffers(pack_parameters(small(), ctx), ctx)
    (group,) = graph.nodes
    group = replace(group, attrs={**group.attrs, "mapping": MAPPING.to_attr()})
    program = allocate(tile_loops(replace(graph, nodes=(group,)), ctx), ctx)
    golden(print_operation(nest_operation(program.nests[0])))


@pytest.mark.skipif(shutil.which("xdsl-opt") is None, reason="xdsl is not installed")
def test_xdsl_parses_it(tmp_path: Path) -> None:
    path = tmp_path / "tile.mlir"
    graphs = [small(), random_graph(4)]
    for graph in graphs:
        path.write_text(print_tile(tiled(graph, target("odd-13x7"))))
        command = ["xdsl-opt", "--allow-unregistered-dialect", str(path)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr


terms = st.lists(st.tuples(st.sampled_from(["n", "k", "p", "w2"]), st.integers(-9, 40)), max_size=3)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.integers(1, 99), terms, st.integers(-20, 20), st.integers(1, 9))
def test_ranges_print_what_parses_back(
    bound: int, some: list[tuple[str, int]], offset: int, extent: int
) -> None:
    dim = Dim(bound, tuple(some), offset, extent)
    assert parse_dim(print_dim(dim)) == dim


def test_ranges_are_compact() -> None:
    assert print_dim(Dim(56, (("p", 2),), -1, 3)) == "2*p-1:+3<56"
    assert print_dim(Dim(30, (("g", 10), ("k", 1)))) == "10*g+k<30"
    assert print_dim(Dim.whole(7)) == ":7"
    assert print_dim(Dim(7)) == "0<7"


@pytest.mark.parametrize("text", ["", "p", "2*<3", "p+<3", "p:+<3", "P<3", "p q<3", ":x"])
def test_other_ranges_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not"):
        parse_dim(text)


def broken(text: str, old: str, new: str) -> str:
    assert old in text
    return text.replace(old, new, 1)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"dnncc.program"', '"dnncc.graph"'),
        ('"dnncc.nest"', '"dnncc.for"'),
        ('kind = "ifmap", ', ""),
        ('"dnncc.load"(%ifmap)', '"dnncc.load"(%nothing)'),
        ('"dnncc.load"(%ifmap)', '"dnncc.load"(%ifmap, %ifmap)'),
        ("extent = ", "size = "),
        ("-1:+3<", "-1:+x<"),
        ("slots = 2", 'slots = "2'),
    ],
)
def test_other_text_is_refused(old: str, new: str) -> None:
    program = tiled(small(), target("odd-13x7"))
    text = broken(print_tile(program), old, new)
    with pytest.raises(CompileError) as caught:
        parse_tile(text, resources(program.graph), "in.mlir")
    assert str(caught.value).startswith("in.mlir: ")
