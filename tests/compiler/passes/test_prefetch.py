"""Tiles are on their way in earlier nests, and every value stays what it is."""

import os
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace

import dnncc
from dnncc.ir.tile import TileProgram
from dnncc.ir.tile_text import parse_tile, print_tile, resources
from dnncc.ir.tile_verify import verify_tile
from dnncc.ir.verify import VerifyError
from dnncc.isa import dma
from dnncc.isa.program import Program
from dnncc.passes.allocate import allocate
from dnncc.passes.context import Context
from dnncc.passes.prefetch import prefetch
from dnncc.runtime import load
from dnncc.runtime.grouping.runs import by_nests
from dnncc.runtime.verification import verify
from tests.compiler.small import Sketch
from tests.oracle import run

from ..lowering import target, tiled_model

SEEDS = int(os.environ.get("DNNCC_SEEDS", "6"))
RESNET8 = "mlperf_tiny_ic_resnet8_int8"
BRINGS = ("nvdla-like-small", "nvdla-like-full", "eyeriss-like", "shidiannao-like")


def chain(seed: int) -> tuple[Any, dict[str, Any]]:
    """Convolutions, some with many pixels and some with many weights."""
    rng = np.random.default_rng(seed)
    sketch, name, depth = Sketch(), "x", int(rng.integers(2, 9))
    side = int(rng.integers(6, 20))
    shape = (1 + seed % 2, depth, side, side)
    for number in range(int(rng.integers(3, 7))):
        count, taps = int(rng.integers(3, 40)), int(rng.choice([1, 3]))
        values = rng.integers(-99, 99, (count, depth, taps, taps)).astype(np.int8)
        weight = sketch.real(sketch.constant(f"w{number}", values))
        y = sketch.add("Conv", [sketch.real(name), weight], f"y{number}", pads=[taps // 2] * 4)
        name, depth = sketch.integer(y, f"t{number}"), count
    model = sketch.model({"x": (np.int8, shape)}, [name])
    return model, {"x": rng.integers(-128, 128, shape).astype(np.int8)}


def early(made: Any) -> Any:
    """The numbers of instructions that stand before one of an earlier nest."""
    node_of = np.asarray(made.image.debug.node_of)
    return np.flatnonzero(node_of > np.minimum.accumulate(node_of[::-1])[::-1])


@pytest.mark.parametrize("name", [*BRINGS, "tpu-like", "diannao-like"])
@pytest.mark.parametrize("seed", range(SEEDS))
def test_chains(seed: int, name: str) -> None:
    model, feeds = chain(seed)
    made = dnncc.compile(model, name, strict=True)
    session, wanted = load(made.image), list(run(model, feeds).values())
    for grouped in (True, False):
        got = session.run(None, feeds, grouped=grouped)
        for one, other in zip(got, wanted, strict=True):
            np.testing.assert_array_equal(one, other)
    assert not verify(made.image)


@pytest.mark.parametrize("name", BRINGS)
def test_loads_of_constants_are_among_those_of_earlier_nests(name: str) -> None:
    made = dnncc.compile(chain(1)[0], name, strict=True)
    program, constants = Program.decode(made.image.text), len(made.image.rodata)
    moved = [program.instruction(i) for i in early(made)]
    assert moved
    assert all(isinstance(one, dma.Load) and one.dram < constants for one in moved)
    without = dnncc.compile(chain(1)[0], name, strict=True, disable=["prefetch"])
    assert not len(early(without))


def residual(seed: int) -> tuple[Any, dict[str, Any]]:
    """A sum of a map and what two convolutions make of it, one of which keeps the array busy."""
    rng, sketch, side = np.random.default_rng(seed), Sketch(), 12 + seed
    x, shape = "x", (1, 16, side, side)
    for name, depth, taps in (("a", 16, 1), ("b", 16, 5), ("c", 16, 1)):
        values = rng.integers(-99, 99, (16, depth, taps, taps)).astype(np.int8)
        weight = sketch.real(sketch.constant(f"w{name}", values))
        y = sketch.add("Conv", [sketch.real(x), weight], f"y{name}", pads=[taps // 2] * 4)
        x = sketch.integer(y, name)
    total = sketch.add("Add", [sketch.real("a"), sketch.real("c")], "sum")
    model = sketch.model({"x": (np.int8, shape)}, [sketch.integer(total, "out")])
    return model, {"x": rng.integers(-128, 128, shape).astype(np.int8)}


@pytest.mark.parametrize("name", ["nvdla-like-small", "nvdla-like-full", "gemmini-like"])
@pytest.mark.parametrize("seed", range(3))
def test_maps_that_are_there_come_early(seed: int, name: str) -> None:
    """And on NVDLA the sum's other side does, two nests behind the one that makes it."""
    model, feeds = residual(seed)
    made = dnncc.compile(model, name, strict=True)
    program, constants = Program.decode(made.image.text), len(made.image.rodata)
    moved = [program.instruction(i) for i in early(made)]
    maps = [one for one in moved if isinstance(one, dma.Load) and one.dram >= constants]
    assert maps or name == "gemmini-like"
    session = load(made.image)
    for grouped in (True, False):
        got = session.run(None, feeds, grouped=grouped)
        np.testing.assert_array_equal(got[0], run(model, feeds)["out"])
    assert not verify(made.image)


def test_what_the_link_has_no_time_for_stays() -> None:
    """On the way to a memory that is full of tiles, or over a link that is never idle."""
    program = tiled_model(RESNET8, "tpu-like")
    again = prefetch(program, Context(target("tpu-like")))
    slots = [b.slots for nest in program.nests for b in nest.buffers]
    assert [b.slots for nest in again.nests for b in nest.buffers] == slots


def brought() -> TileProgram:
    program = prefetch(tiled_model(RESNET8, "eyeriss-like"), Context(target("eyeriss-like")))
    assert any(b.ahead for nest in program.nests for b in nest.buffers)
    return program


def test_text_says_how_far_ahead() -> None:
    program = brought()
    assert parse_tile(print_tile(program), resources(program.graph)) == program


def changed(program: TileProgram, **fields: Any) -> TileProgram:
    """With the first buffer that is filled ahead as `fields` say."""
    number = next(i for i, n in enumerate(program.nests) if any(b.ahead for b in n.buffers))
    nest = program.nests[number]
    index = next(i for i, b in enumerate(nest.buffers) if b.ahead)
    buffers = list(nest.buffers)
    buffers[index] = replace(buffers[index], **fields)
    nests = list(program.nests)
    nests[number] = replace(nest, buffers=tuple(buffers))
    return replace(program, nests=tuple(nests))


def test_more_nests_ahead_than_there_are_is_refused() -> None:
    with pytest.raises(VerifyError, match="nests ahead"):
        verify_tile(changed(brought(), ahead=99), target("eyeriss-like"))


@pytest.mark.parametrize("kind", ["ifmap", "psum"])
def test_what_is_made_later_cannot_be_filled_ahead(kind: str) -> None:
    """What the nest before makes, or what nothing loads."""
    program = tiled_model(RESNET8, "eyeriss-like")
    maps = ((i, b) for i, n in enumerate(program.nests) for b in n.buffers if b.kind == kind)
    number, buffer = next((i, b) for i, b in maps if i)
    others = (b for b in program.nests[number].buffers if b != buffer)
    nests = list(program.nests)
    nests[number] = replace(nests[number], buffers=(replace(buffer, ahead=1), *others))
    with pytest.raises(VerifyError, match="nests ahead"):
        verify_tile(replace(program, nests=tuple(nests)), target("eyeriss-like"))


def test_addresses_are_apart_all_the_time() -> None:
    ctx = Context(target("eyeriss-like"))
    program = allocate(brought(), ctx)
    verify_tile(program, target("eyeriss-like"))
    number = next(i for i, n in enumerate(program.nests) if any(b.ahead for b in n.buffers))
    taken = next(b.address for b in program.nests[number - 1].buffers if b.memory == "glb")
    with pytest.raises(VerifyError, match="overlap"):
        verify_tile(changed(program, address=taken), target("eyeriss-like"))


def test_instructions_go_back_to_their_nest_only_where_that_leaves_the_same() -> None:
    made = dnncc.compile(chain(1)[0], "eyeriss-like", strict=True)
    assert made.image.debug
    program, node_of = Program.decode(made.image.text), np.asarray(made.image.debug.node_of)
    order = by_nests(program, node_of.astype(np.int64))
    assert (np.diff(node_of[order]) >= 0).all()
    told = node_of.astype(np.int64).copy()
    told[early(made)[0] + 1] = told.max()  # what others wait for
    assert (by_nests(program, told) == np.arange(program.count)).all()


def test_nothing_comes_ahead_where_energy_is_the_goal() -> None:
    made = dnncc.compile(chain(1)[0], "eyeriss-like", strict=True, opt_for="energy")
    assert not len(early(made))
