"""What is kept of a map moves neither way, and every value stays what it is.

A failing case is its seed; DNNCC_SEEDS=500 tries more of them.
"""

import os
from typing import Any

import numpy as np
import pytest
from msgspec import structs
from msgspec.structs import replace

from dnncc.codegen.image import image
from dnncc.ir.graph import Graph, Node, Quant, Tensor, View
from dnncc.ir.heads import ALL, Cut, behind, cut, leading, outermost
from dnncc.ir.interpret import interpret
from dnncc.ir.tile import Dim, Load, Store, TileProgram, unroll
from dnncc.ir.tile_interpret import interpret_tile
from dnncc.ir.tile_text import parse_tile, print_tile, resources
from dnncc.ir.tile_verify import verify_tile
from dnncc.ir.verify import VerifyError
from dnncc.isa import elf
from dnncc.isa.image import Image
from dnncc.mapping.files import from_tables
from dnncc.mapping.lowering import workload
from dnncc.mapping.nodes import titles
from dnncc.passes.allocate import allocate
from dnncc.passes.choose_mapping import choose_mapping
from dnncc.passes.context import Context
from dnncc.passes.emit import emit
from dnncc.passes.keep_parts import keep_parts
from dnncc.passes.pack_parameters import pack_parameters
from dnncc.passes.place_buffers import nothing_resident
from dnncc.passes.synchronize import synchronize
from dnncc.passes.tile_loops import tile_loops
from dnncc.runtime.session import load
from dnncc.targets import Target

from ..lowering import target
from ..random_groups import RandomGroups, random_feeds

SEEDS = int(os.environ.get("DNNCC_SEEDS", "16"))
KINDS = ("point", "spatial", "depthwise", "pool", "sum", "point", "depthwise")


class RandomMaps(RandomGroups):
    """Maps that mostly do not fit a small scratchpad, in chains with some branches."""

    def network(self, count: int) -> Graph:
        shape = (
            self.among(1, 1, 1, 2),
            self.between(2, 8),
            self.between(6, 20),
            self.between(6, 20),
        )
        maps = [self.input(shape, **self.typed())]
        for _ in range(count):
            x = self.among(maps[-1], maps[-1], maps[-1], *maps[1:])
            kind = self.among(*KINDS)
            maps.append(self.group(getattr(self, f"make_{kind}")(x, maps)))
        read = {name for node in self.nodes for name in node.inputs}
        return self.graph(*(name for name in maps[1:] if name not in read))

    def make_point(self, x: str, maps: list[str]) -> Any:
        return self.convolved(x, self.between(12, 48), (1, 1))

    def make_spatial(self, x: str, maps: list[str]) -> Any:
        return self.convolved(x, self.between(12, 24), self.taps(x))

    def make_depthwise(self, x: str, maps: list[str]) -> Any:
        return self.convolved(x, 0, self.taps(x))

    def make_pool(self, x: str, maps: list[str]) -> Any:
        tensor, taps = self.tensors[x], self.taps(x)
        window = {"kernel": taps, **self.around(taps), "dilations": (1, 1)}
        return self.node("maxpool", [x], tensor.dtype, tensor.quant, **window)

    def make_sum(self, x: str, maps: list[str]) -> Any:
        shape = self.tensors[x].shape
        others = [name for name in maps if self.tensors[name].shape == shape and name != x]
        if not others:
            return self.make_point(x, maps)
        return self.node("add", [x, self.among(*others)], **self.typed())

    def taps(self, x: str) -> tuple[int, int]:
        rows, cols = self.tensors[x].shape[2:]
        return self.between(1, min(3, rows)), self.between(1, min(3, cols))

    def around(self, taps: tuple[int, int]) -> dict[str, Any]:
        pads = tuple(self.between(0, n - 1) for n in taps * 2)
        return {"pads": pads, "strides": (self.among(1, 1, 1, 2), self.among(1, 1, 1, 2))}

    def convolved(self, x: str, filters: int, taps: tuple[int, int]) -> Any:
        """Depthwise without a number of filters."""
        channels = self.tensors[x].shape[1]
        w = self.integers((filters or channels, channels if filters else 1, *taps), "int8")
        scales = self.rng.uniform(0.001, 0.02, len(w)).astype(np.float32)
        weights = self.constant(w, Quant(scales, np.zeros(len(w), np.int32), 0))
        bias = self.constant(self.rng.integers(-999, 999, len(w)).astype(np.int32))
        typed, group = self.typed(), 1 if filters else channels
        more = {**self.around(taps), **typed, **self.clamp(typed["dtype"])}
        return self.conv(x, weights, bias, group=group, **more)


def with_bytes(machine: Target, sizes: dict[str, int]) -> Target:
    memories = (structs.replace(m, bytes=sizes.get(m.name, m.bytes)) for m in machine.memories)
    return structs.replace(machine, memories=tuple(memories))


ROOMY = with_bytes(target("odd-13x7"), {"spad": 15000})


def small(seed: int) -> Target:
    """One memory for all, or one each for psums and weights; a map is planes or rows."""
    machine = target(("odd-13x7", "tpu-like", "eyeriss-like")[seed % 3])
    return with_bytes(machine, {"spad": 9000, "ub": 9600, "glb": 27 * 1024})


def allocated(graph: Graph, machine: Target, seed: int = 0) -> TileProgram:
    """With small tiles, which leave room, and with no map on chip as a whole."""
    packed = pack_parameters(graph, Context(machine))
    rng = np.random.default_rng(seed)
    given = {name: tiles(group, packed, machine, rng) for name, group in titles(packed)}
    ctx = Context(machine, mapping=from_tables(given, "test"))
    for run_pass in (nothing_resident, choose_mapping):
        packed = run_pass(packed, ctx)
    return allocate(tile_loops(packed, ctx), ctx)


def tiles(group: Node, graph: Graph, machine: Target, rng: Any) -> dict[str, Any]:
    """What is given of a mapping: few planes or rows at once, and few slots."""
    dims = workload(group, graph, machine).dims
    cut = ("g", "p") if dims.get("g", 1) > 1 else ("k", "c", "p")
    steps = {v: -(-dims[v] // int(rng.integers(1, 7))) for v in cut if v in dims}
    return {"steps": steps, "slots": int(rng.integers(1, 3))}


def binary(program: TileProgram, machine: Target) -> Image:
    ctx = Context(machine)
    return image(synchronize(emit(program, ctx), ctx), machine, "test", {})


def heads(program: TileProgram) -> dict[str, int]:
    return {n: t.head.elements for n, t in program.graph.tensors.items() if t.head}


@pytest.mark.parametrize("seed", range(SEEDS))
def test_every_value_stays_what_it_is(seed: int) -> None:
    graph, machine = RandomMaps(seed).network(5), small(seed)
    feeds = random_feeds(graph, seed)
    program = keep_parts(allocated(graph, machine, seed), Context(machine))
    verify_tile(program, machine)
    wanted, tiles = interpret(graph, feeds), interpret_tile(program, feeds)
    session = load(elf.write(binary(program, machine)))
    names = [*graph.outputs, *heads(program)]
    for schedule in ("serial", f"random:{seed}"):
        values = session.run(names, feeds, schedule, sanitize=True)
        for name, value in zip(names, values, strict=True):
            np.testing.assert_array_equal(value, wanted[name], f"{name} {schedule}")
            np.testing.assert_array_equal(tiles[name], wanted[name], name)


@pytest.mark.parametrize("seed", range(SEEDS))
def test_what_is_kept_moves_neither_way(seed: int) -> None:
    graph, machine = RandomMaps(seed).network(5), small(seed)
    whole = allocated(graph, machine, seed)
    parts = keep_parts(whole, Context(machine))
    before, after = (load(binary(p, machine)).profile.report for p in (whole, parts))
    fewer = [
        before[f"dram_{way}_bytes"] - after[f"dram_{way}_bytes"] for way in ("read", "written")
    ]
    assert min(fewer) >= 0
    assert (sum(fewer) > 0) == bool(heads(parts))
    assert moves(parts) <= moves(whole)


def moves(program: TileProgram) -> int:
    each = (item for nest in program.nests for item in unroll(nest))
    return sum(len(i.order) for i in each if isinstance(i.step, Load | Store))


def chain() -> Graph:
    """A map of 40 planes, of which a scratchpad of 15000 bytes has room for some."""
    build = RandomMaps(1)
    x = build.input((1, 4, 16, 16))
    once: dict[str, Any] = {"pads": (0, 0, 0, 0), "strides": (1, 1)}
    weights = build.constant(
        build.integers((40, 4, 1, 1), "int8"),
        Quant(np.full(40, 0.01, np.float32), np.zeros(40, np.int32), 0),
    )
    wide = build.group(build.conv(x, weights, "", **once, **build.typed()))
    window = {"kernel": (2, 2), "strides": (2, 2), "dilations": (1, 1), "pads": (0, 0, 0, 0)}
    made = build.tensors[wide]
    pooled = build.group(build.node("maxpool", [wide], made.dtype, made.quant, **window))
    return build.graph(pooled)


def test_a_map_is_kept_in_part_and_read_where_it_lies() -> None:
    graph, machine = chain(), ROOMY
    whole = allocated(graph, machine)
    parts = keep_parts(whole, Context(machine))
    ((name, elements),) = heads(parts).items()
    assert 0 < elements < graph.tensors[name].size
    reports = [load(binary(p, machine)).profile.report for p in (whole, parts)]
    for way in ("dram_read_bytes", "dram_written_bytes"):
        assert 0 < reports[0][way] - reports[1][way] <= elements
    assert reports[1]["cycles"] <= reports[0]["cycles"]


def test_text_holds_heads_and_parts_of_loops() -> None:
    program = keep_parts(allocated(chain(), ROOMY), Context(ROOMY))
    text = print_tile(program)
    again = parse_tile(text, resources(program.graph))
    assert print_tile(again) == text
    assert heads(again) == heads(program)
    assert keep_parts(again, Context(ROOMY)) is again


def test_tiles_used_on_chip_that_are_not_there_are_refused() -> None:
    machine = ROOMY
    program = keep_parts(allocated(chain(), machine), Context(machine))
    tensors = {
        name: replace(t, head=replace(t.head, elements=t.head.elements - 1)) if t.head else t
        for name, t in program.graph.tensors.items()
    }
    wrong = replace(program, graph=replace(program.graph, tensors=tensors))
    with pytest.raises(VerifyError, match="are used on chip, where"):
        verify_tile(wrong, machine)


def test_nothing_is_kept_where_results_lie_apart_from_ifmaps() -> None:
    machine = ROOMY
    memory = machine.memories[0]
    apart = (
        structs.replace(memory, holds=("ifmap", "weight", "params")),
        structs.replace(memory, name="acc", id=2, holds=("psum", "ofmap")),
    )
    split = structs.replace(machine, memories=apart)
    program = allocated(chain(), split)
    assert keep_parts(program, Context(split)) is program


def planes(count: int) -> Tensor:
    shape = (1, count, 4, 5)
    return Tensor("x", shape, np.dtype(np.int8), view=View("x", 0, (20 * count, 20, 5, 1)))


def test_the_first_planes_are_in_the_first_elements() -> None:
    tensor = planes(7)
    assert outermost(tensor) == 1
    assert [leading(tensor, elements) for elements in (0, 19, 20, 59, 140)] == [0, 0, 1, 2, 7]


def test_tiles_are_in_place_as_long_as_all_of_them_is() -> None:
    tensor, dims = planes(7), {"c": 7, "p": 4}
    box = (Dim.whole(1), Dim(7, (("c", 1),)), Dim.whole(4), Dim.whole(5))
    assert cut(tensor, box, 100, dims, {"c": 2, "p": 4}) == Cut("c", 4)
    assert cut(tensor, box, 140, dims, {"c": 2, "p": 4}) == ALL
    assert cut(tensor, box, 20, dims, {"c": 2, "p": 4}) is None
    assert cut(tensor, box, 100, dims, {"c": 7, "p": 2}) is None
    assert behind(tensor, box, Cut("c", 4), dims) == 80


def test_the_halo_of_a_tile_is_in_place_too() -> None:
    shape = (1, 3, 12, 5)
    rows = Tensor("x", shape, np.dtype(np.int8), view=View("x", 0, (180, 1, 15, 3)))
    halo = Dim(12, (("p", 1),), -1, 3)
    box = (Dim.whole(1), Dim.whole(3), halo, Dim.whole(5))
    dims, sizes = {"p": 12}, {"p": 4}
    assert outermost(rows) == 2
    assert cut(rows, box, 9 * 15, dims, sizes) == Cut("p", 8)
    assert cut(rows, box, 8 * 15, dims, sizes) == Cut("p", 4)
    assert behind(rows, box, Cut("p", 4), dims) == 3 * 15
