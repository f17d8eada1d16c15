"""Ifmaps in rings of rows: the values of onnxruntime, and every row from DRAM once in a sweep."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from onnx import ModelProto

import dnncc
from dnncc.diagnostics import CompileError
from dnncc.driver import Artifact
from dnncc.ir.text import resources
from dnncc.ir.tile import Buffer, Compute, Load, Loop, Nest, Operand, TileProgram
from dnncc.ir.tile_interpret import interpret_tile
from dnncc.ir.tile_text import parse_tile, print_tile
from dnncc.ir.tile_verify import verify_tile
from dnncc.ir.verify import VerifyError
from dnncc.isa import asm, dma, elf, tensor
from dnncc.mapping.beside import CODE_BYTES
from dnncc.mapping.cost import Problem
from dnncc.mapping.given import Given
from dnncc.mapping.lowering import workload
from dnncc.mapping.mapping import Mapping
from dnncc.mapping.objective import search_for
from dnncc.runtime import load
from tests.compiler.mapping.test_bound import layers
from tests.compiler.networks import small_network, weights
from tests.compiler.qdq import SOME, Sketch
from tests.compiler.small import Sketch as Small
from tests.e2e.running import ODD
from tests.oracle import run

TARGETS = ("eyeriss-like", "shidiannao-like", "nvdla-like-small", "gemmini-like", ODD)
CONV = "N_conv"


class Case:
    """A convolution whose tiles of rows share some, another one that reads its result, and what is
    given of the first one's mapping."""

    def __init__(self, draw: Any) -> None:
        self.sketch = sketch = Sketch(draw)
        pick = sketch.pick
        self.groups = sketch.choose(1, 1, 1, 2, 4)
        inputs, self.filters = self.groups * pick(1, 6), self.groups * pick(1, 8)
        self.draw_window()
        reach, pads = self.reach, self.pads
        height, width = pick(reach[0] + self.stride[0], 30), pick(reach[1], 20)
        self.shape = (pick(1, 3), inputs, height, width)
        sizes = zip((height, width), pads[:2], pads[2:], reach, self.stride, strict=True)
        self.rows, self.columns = ((n + a + b - r) // s + 1 for n, a, b, r, s in sizes)
        self.model = self.network()
        self.given: dict[str, Any] = {"ring": ["ifmap"], "steps": {"p": pick(1, self.rows // 2)}}
        if sketch.choose(True, False):
            self.given["slots"] = pick(1, 4)

    def draw_window(self) -> None:
        """Stride, dilation, kernel and padding; the filter is taller than its stride."""
        pick = self.sketch.pick
        self.stride, self.dilation = [pick(1, 3), pick(1, 3)], [pick(1, 2), pick(1, 3)]
        self.kernel = [pick(1 + -(-self.stride[0] // self.dilation[0]), 6), pick(1, 3)]
        pairs = zip(self.kernel, self.dilation, strict=True)
        self.reach = [(kernel - 1) * dilation + 1 for kernel, dilation in pairs]
        self.pads = [pick(0, self.reach[0]), pick(0, 2), pick(0, self.reach[0]), pick(0, 2)]

    def network(self) -> ModelProto:
        sketch, channels = self.sketch, (self.filters, self.shape[1] // self.groups)
        x, w = sketch.value("x", self.shape), sketch.weight("w", (*channels, *self.kernel), 0)
        attrs = {"strides": self.stride, "dilations": self.dilation, "pads": self.pads}
        sketch.add("Conv", [x, w], "conv", **attrs, group=self.groups)
        quant = sketch.quant("mid", 1.0)
        sketch.add("QuantizeLinear", ["conv", *quant], "mid")
        sketch.add("DequantizeLinear", ["mid", *quant], "mid_real")
        last = sketch.weight("last", (3, self.filters, 1, 1), 0)
        return sketch.model(sketch.add("Conv", ["mid_real", last], "result"), 2.0)

    def cut(self) -> None:
        """Tiles of parts of other loops, too."""
        whole = {"k": self.filters, "q": self.columns, "n": self.shape[0]}
        for loop, most in whole.items() if self.groups == 1 else ():
            if self.sketch.choose(True, False):
                self.given["steps"][loop] = self.sketch.pick(1, most)

    def compiled(self, target: str) -> Artifact:
        """Leaves out what no scratchpad is large enough for."""
        try:
            return dnncc.compile(self.model, target, mapping={CONV: self.given}, cache=False)
        except CompileError as refused:
            assume("cannot be mapped so: its smallest tile needs" not in str(refused))
            raise


def ring(artifact: Artifact) -> Buffer:
    """Of the first nest."""
    return next(b for b in artifact.tile.nests[0].buffers if b.ring)


@settings(SOME, max_examples=40)
@given(st.data())
def test_values(data: Any) -> None:
    case = Case(data.draw)
    case.cut()
    target = case.sketch.choose(*TARGETS)
    artifact = case.compiled(target)
    expected = run(case.model, case.sketch.feeds)["y"]
    assert (ring(artifact).slots, ring(artifact).ring) == (1, "p")
    tile = artifact.tile
    assert np.array_equal(interpret_tile(tile, case.sketch.feeds)["y"], expected)
    assert print_tile(parse_tile(print_tile(tile), resources(tile.graph))) == print_tile(tile)
    session = load(elf.write(artifact.image))
    ways: tuple[dict[str, Any], ...] = (
        {"sanitize": True},
        {"schedule": "random:3"},
        {"grouped": True},
    )
    for way in ways:
        (got,) = session.run(None, case.sketch.feeds, **way)
        assert np.array_equal(got, expected), way
    case.given["ring"] = []
    plain = load(elf.write(case.compiled(target).image))
    assert reasons(session) == reasons(plain), "what is merged without a ring is merged with one"


def reasons(session: Any) -> list[str]:
    return [piece.why for piece in session.plan.pieces] if session.plan else []


@settings(SOME, max_examples=30)
@given(st.data())
def test_each_row_comes_once(data: Any) -> None:
    case = Case(data.draw)
    n, c, height, width = case.shape
    case.given["steps"] |= {"n": n, "g": case.groups, "k": case.filters // case.groups}
    case.given["steps"] |= {"q": case.columns}
    artifact = case.compiled(case.sketch.choose(*TARGETS))
    outputs, pads = (case.rows, case.columns), case.pads[:2]
    windows = zip((height, width), outputs, case.stride, case.reach, pads, strict=True)
    ends = [min(size, (o - 1) * s + r - pad) for size, o, s, r, pad in windows]
    assert loads_of(artifact, "x") == n * c * ends[0] * ends[1]


def loads_of(artifact: Artifact, name: str) -> int:
    """Elements of a tensor that are loaded."""
    (symbol,) = (s for s in artifact.image.symbols if s.name == name)
    parts = [p for p in artifact.program.parts if p.cls is dma.Load]
    items: list[Any] = [p.cls.from_records(p.records) for p in parts]
    total = 0
    for item in items:
        own = (symbol.address <= item.dram) & (item.dram < symbol.stop)
        total += int((item.d0 * item.d1 * item.d2 * item.d3)[own].sum())
    return total


NODE = "N_a_y"


def small(target: str = "eyeriss-like", **given: Any) -> Artifact:
    table = {"ring": ["ifmap"], "steps": {"p": 2, "c": 8}, **given}
    return dnncc.compile(small_network(), target, mapping={NODE: table}, cache=False)


def changed(artifact: Artifact, **fields: Any) -> TileProgram:
    """With other fields of its ring."""

    def nest(one: Nest) -> Nest:
        buffers = (replace(b, **fields) if b.ring else b for b in one.buffers)
        return replace(one, buffers=tuple(buffers))

    first, *others = artifact.tile.nests
    return replace(artifact.tile, nests=(nest(first), *others))


def operands(change: Callable[[Operand], Operand], kinds: tuple[type, ...]) -> Callable[..., Any]:
    """What makes of a step one that has other operands in the ring."""

    def step(item: Any, name: str) -> Any:
        if isinstance(item, Loop):
            return replace(item, body=tuple(step(i, name) for i in item.body))
        if isinstance(item, Load) and item.out.buffer == name and Load in kinds:
            return Load(change(item.out))
        if isinstance(item, Compute) and Compute in kinds:
            held = {n: change(o) if o.buffer == name else o for n, o in item.operands.items()}
            return replace(item, operands=held)
        return item

    return step


def rebuilt(artifact: Artifact, step: Callable[..., Any]) -> TileProgram:
    name = ring(artifact).name

    def nest(one: Nest) -> Nest:
        return replace(one, body=tuple(step(i, name) for i in one.body))

    first, *others = artifact.tile.nests
    return replace(artifact.tile, nests=(nest(first), *others))


def other_tile(operand: Operand) -> Operand:
    rows = operand.box[2]
    return replace(operand, box=(*operand.box[:2], replace(rows, offset=1), operand.box[3]))


def backwards(operand: Operand) -> Operand:
    rows = replace(operand.box[2], terms=(("p", -1),))
    return replace(operand, box=(*operand.box[:2], rows, operand.box[3]))


BOTH = (Load, Compute)
WRONG: dict[str, Callable[[Artifact], TileProgram]] = {
    "along 'z', which is none of": lambda a: changed(a, ring="z"),
    "of weight or of 1 slots": lambda a: changed(a, kind="weight"),
    "of ifmap or of 2 slots": lambda a: changed(a, slots=2),
    "has 3 rows, not 5..255": lambda a: changed(a, shape=(*ring(a).shape[:2], 3, 14)),
    "has 400 rows, not 5..255": lambda a: changed(a, shape=(*ring(a).shape[:2], 400, 14)),
    "has 3 dimensions, not 4": lambda a: changed(a, shape=ring(a).shape[1:]),
    "larger than those of the ring": lambda a: changed(a, shape=(1, 7, ring(a).shape[2], 14)),
    "nothing is loaded": lambda a: rebuilt(
        a, operands(lambda o: replace(o, buffer="psum", box=o.box[:0]), (Load,))
    ),
    "take different tiles": lambda a: rebuilt(a, operands(other_tile, (Compute,))),
    "change in a loop inside of p": lambda a: rebuilt(
        a, operands(lambda o: replace(o, slots=("p", "k")), BOTH)
    ),
    "do not move on": lambda a: rebuilt(a, operands(backwards, BOTH)),
}


@pytest.mark.parametrize("message", WRONG)
def test_what_is_no_ring(message: str) -> None:
    artifact = small()
    verify_tile(artifact.tile, artifact.target)
    with pytest.raises(VerifyError) as refused:
        verify_tile(WRONG[message](artifact), artifact.target)
    assert message in str(refused.value)


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    NODE + " weight": ({"ring": ["weight"]}, "'weight' is no ifmap of which tiles share rows"),
    NODE + " whole": ({"whole": ["ifmap"]}, "'ifmap' is loaded whole"),
    NODE + " all": ({"steps": {"p": 8}}, "a tile takes all of p"),
    "N_b_y": ({"steps": {"p": 2}}, "lies in a scratchpad"),
    NODE + " c": ({"steps": {"p": 2, "c": 4}}, "the ifmap changes with c"),
    NODE + " q": ({"steps": {"p": 2, "q": 2}, "order": ["p", "q"]}, "the ifmap changes with q"),
    NODE + " twice": ({"ring": ["ifmap", "ifmap"]}, "'ifmap' is in it twice"),
    "N_e_y": ({"steps": {}}, "'ifmap' is no ifmap of which tiles share rows"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_rings_that_cannot_be_given(case: str) -> None:
    table, message = REFUSED[case]
    given = {case.split()[0]: {"ring": ["ifmap"], **table}}
    with pytest.raises(CompileError) as refused:
        dnncc.compile(small_network(), mapping=given, cache=False)
    assert message in str(refused.value) and "\n" not in str(refused.value)


@pytest.mark.parametrize("target", TARGETS)
def test_assembly_and_mapping_files_have_the_ring(target: str, tmp_path: Path) -> None:
    artifact = small(target)
    (part,) = (p for p in artifact.program.parts if p.cls is tensor.Tensor)
    assert part.records["ring"][0] == ring(artifact).shape[2]
    assert part.records["ring_row"].max() > 0
    assert asm.assemble(artifact.asm()) == artifact.image.text
    artifact.save_mapping(tmp_path / "m.toml")
    again = dnncc.compile(small_network(), target, mapping=tmp_path / "m.toml", cache=False)
    assert elf.write(again.image) == elf.write(artifact.image)


def deep() -> ModelProto:
    """Two convolutions of 64 channels of 28 x 28 pixels, too many for the scratchpads below."""
    sketch = Small()
    sketch.constants["zero"] = np.int8(3)
    real = sketch.real("x")
    for name in ("a", "b"):
        weights(sketch, f"w{name}", (64, 64, 3, 3))
        made = sketch.add("Conv", [real, f"w{name}_real"], f"{name}_y", pads=[1, 1, 1, 1])
        integer = sketch.integer(made, name, "coarse")
        real = sketch.add("DequantizeLinear", [integer, "coarse", "zero"], f"{name}_real")
    return sketch.model({"x": (np.int8, (1, 64, 40, 40))}, ["b"])


FOUND = {"nvdla-like-small": "latency", "gemmini-like": "latency", "shidiannao-like": "energy"}


@pytest.mark.parametrize("target", FOUND)
def test_the_search_finds_them(target: str, tmp_path: Path) -> None:
    """Fewer bytes from DRAM for about the same cycles; the same values; the same binary again."""
    goal = FOUND[target]
    artifact = dnncc.compile(deep(), target, cache=False, opt_for=goal)
    rings = {n.loc[0]: n.attrs["mapping"]["ring"] for n in artifact.graph.nodes
             if "ring" in n.attrs.get("mapping", {})}  # fmt: skip
    assert set(rings.values()) == {("ifmap",)}
    barred: dict[str, Any] = {node: {"ring": []} for node in rings}
    plain = dnncc.compile(deep(), target, cache=False, opt_for=goal, mapping=barred)
    with_rings, without = (load(elf.write(a.image)) for a in (artifact, plain))
    reports = [session.profile.report for session in (with_rings, without)]
    assert reports[0]["dram_read_bytes"] < 0.95 * reports[1]["dram_read_bytes"]
    assert reports[0]["energy"]["total"] < reports[1]["energy"]["total"]
    assert goal != "latency" or reports[0]["cycles"] < 1.03 * reports[1]["cycles"]
    x = np.random.default_rng(1).integers(-128, 128, (1, 64, 40, 40)).astype(np.int8)
    got = [session.run(None, {"x": x})[0] for session in (with_rings, without)]
    assert np.array_equal(got[0], got[1])
    artifact.save_mapping(tmp_path / "m.toml")
    again = dnncc.compile(deep(), target, cache=False, opt_for=goal, mapping=tmp_path / "m.toml")
    assert elf.write(again.image) == elf.write(artifact.image)
    plain.save_mapping(tmp_path / "n.toml")
    again = dnncc.compile(deep(), target, cache=False, opt_for=goal, mapping=tmp_path / "n.toml")
    assert elf.write(again.image) == elf.write(plain.image)


def test_a_mapping_with_a_ring_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("DNNCC_CACHE", raising=False)
    first = dnncc.compile(deep(), "nvdla-like-small")
    assert any(b.ring for nest in first.tile.nests for b in nest.buffers)
    (kept,) = (tmp_path / "dnncc").iterdir()
    text = kept.read_text()
    again = dnncc.compile(deep(), "nvdla-like-small")
    assert elf.write(again.image) == elf.write(first.image)
    assert kept.read_text() == text


def test_bytes_are_those_that_were_estimated() -> None:
    """To a few percent: tiles at the ends of loops, and rows in two parts, are estimated."""
    artifact = dnncc.compile(deep(), "nvdla-like-small", cache=False)
    report = load(elf.write(artifact.image)).profile.report
    for group, layer in zip(artifact.graph.nodes, report["layers"], strict=False):
        attrs = group.attrs
        problem = Problem(
            workload(group, artifact.graph, artifact.target),
            artifact.graph,
            artifact.target,
            attrs["free"],
        )
        made = found_again(problem, attrs["mapping"])
        moved = layer["dram_bus_bytes"] + CODE_BYTES * layer["instructions"]
        assert made == pytest.approx(moved, rel=0.05)


def found_again(problem: Problem, attr: dict[str, Any]) -> int:
    """Bytes of the one mapping that is given."""
    mapping = Mapping.from_attr(attr)
    fixed = Given(
        steps=mapping.steps, order=mapping.order, whole=mapping.resident, slots=mapping.slots,
        ring=mapping.ring,
    )  # fmt: skip
    return search_for("latency", replace(problem, given=fixed), 512).bytes


def test_one_is_found_where_a_map_would_be_loaded_before_the_first_tile() -> None:
    """A depthwise convolution, whose link is busy all the time; no memory has room for two maps."""
    made = dnncc.compile(layers([(136, 34, 1, 4), (136, 1, 3, 136)], 28), "nvdla-like-small")
    mapping = [n.attrs["mapping"] for n in made.graph.nodes if n.op == "group"][-1]
    assert mapping["ring"] == ("ifmap",)
    assert not mapping["resident"]
