"""Faults planted in binaries, one at a time: each is found by the tool meant for it, and named.

Nothing in the shipped code plants them: a fault changes records, symbols, host parts or the debug
map of an image that was compiled, or of one built by hand.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import onnx
import pytest
from msgspec.structs import replace
from onnx import TensorProto, helper

import dnncc
from dnncc.isa import control, core, dma, elf, pool, tensor, vector
from dnncc.isa import image as images
from dnncc.isa import program as programs
from dnncc.runtime import RunError, cli, errors, files, hazards, load, session, verification, verify
from tests.e2e.running import compiled
from tests.models import QUANTISED, find_model

SMALL = ("mlperf_tiny_ic_resnet8_int8", "tflm_micro_speech_int8", "mlperf_tiny_kws_dscnn_int8")
TARGETS = ("eyeriss-like", "tpu-like")
RESNET, SPEECH = SMALL[:2]
HOSTED = "a model that ends on the host"

Fault = Callable[[images.Image], images.Image]


def image_of(model: str, target: str) -> images.Image:
    return hosted(target) if model == HOSTED else compiled(model, target).session.image


@cache
def hosted(target: str) -> images.Image:
    """The keyword spotter, and which class is the most likely."""
    model = onnx.load(find_model(SPEECH))
    (scores,) = model.graph.output
    model.graph.initializer.append(helper.make_tensor("one", TensorProto.INT64, [1], [1]))
    model.graph.node.append(helper.make_node("TopK", [scores.name, "one"], ["score", "class"]))
    scores.CopyFrom(helper.make_tensor_value_info("class", TensorProto.INT64, None))
    return dnncc.compile(model, target).image


# No false alarm


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize(
    "model", [m if m in SMALL else pytest.param(m, marks=pytest.mark.slow) for m in QUANTISED]
)
def test_shipped_programs_are_clean(model: str, target: str) -> None:
    """Proved before the run, and watched in two orders of execution."""
    made = compiled(model, target).session
    assert made.image.debug is not None and len(made.image.debug.units) > 10
    assert verification.verify(made.image) == []
    feeds = files.random_inputs(made.get_inputs(), 1)
    serial = made.run(None, feeds, sanitize=True)
    other = made.run(None, feeds, "random:4", sanitize=True)
    for a, b in zip(serial, other, strict=True):
        np.testing.assert_array_equal(a, b)


# Ways to plant


def changed(image: images.Image, index: int, **values: Any) -> images.Image:
    """Fields of one instruction get other values, or what a function makes of theirs."""
    parts = [(p.indices, p.records.copy()) for p in programs.Program.decode(image.text).parts]
    for indices, records in parts:
        row = int(np.searchsorted(indices, index))
        if row < len(indices) and indices[row] == index:
            for name, value in values.items():
                old = int(records[name][row])
                records[name][row] = value(old) if callable(value) else value
    return replace(image, text=programs.Program.encode(parts))


def part_of(image: images.Image, cls: Any) -> Any:
    parts = programs.Program.decode(image.text).parts
    return next(p for p in parts if p.cls is cls)


def of_buffer(image: images.Image, buffer: str) -> list[int]:
    """The loads into a tile buffer."""
    debug = image.debug
    assert debug is not None
    loads = part_of(image, dma.Load).indices.tolist()
    return [i for i in loads if debug.steps[debug.step_of[i]].startswith(f"load {buffer} ")]


def waiting(image: images.Image, cls: Any, engine: str) -> int:
    """The first instruction of a class that waits for all that an engine was given."""
    part = part_of(image, cls)
    return int(part.indices[np.argmax(part.records[f"after_{engine}"] == 1)])


# The faults


def dropped_wait(image: images.Image) -> images.Image:
    return changed(image, waiting(image, tensor.Tensor, "load0"), after_load0=0)


def weakened_wait(image: images.Image) -> images.Image:
    return changed(image, waiting(image, vector.Requantize, "tensor"), after_tensor=2)


def swapped_slots(image: images.Image) -> images.Image:
    """A load goes to the slot after its own."""
    assert image.debug is not None
    slots = {u.start: u for u in image.debug.units if u.name == "ifmap[0]"}
    for index in of_buffer(image, "ifmap"):
        spad = int(field_of(image, index, "spad"))
        unit = slots.get(core.split_address(spad)[1])
        if unit is not None and any(
            u.name == "ifmap[1]" and u.first == unit.first for u in image.debug.units
        ):
            return changed(image, index, spad=spad + unit.stop - unit.start)
    raise AssertionError("no buffer has two slots")


def wrong_buffer(image: images.Image) -> images.Image:
    """Weights land where the ifmap belongs."""
    weight, ifmap = of_buffer(image, "weight")[0], of_buffer(image, "ifmap")[0]
    return changed(image, weight, spad=field_of(image, ifmap, "spad"))


def field_of(image: images.Image, index: int, name: str) -> int:
    part = part_of(image, dma.Load)
    return int(part.records[name][np.searchsorted(part.indices, index)])


def overlapping_allocation(image: images.Image) -> images.Image:
    """The first psum buffer begins within the weights."""
    assert image.debug is not None
    units = {u.name: u for u in reversed(image.debug.units)}
    psum, weight = units["psum[0]"], units["weight[0]"]
    moved = weight.stop - 16 - psum.start
    for cls, name in ((tensor.Tensor, "psum"), (vector.Requantize, "psum")):
        part = part_of(image, cls)
        for index in part.indices[part.indices <= psum.last].tolist():
            image = changed(image, index, **{name: lambda old: old + moved})
    held = [
        replace(u, start=u.start + moved, stop=u.stop + moved) if u == psum else u
        for u in image.debug.units  # type: ignore[union-attr]
    ]
    return replace(image, debug=replace(image.debug, units=tuple(held)))  # type: ignore[type-var]


def wrong_stride(image: images.Image) -> images.Image:
    """Rows of the ifmap tile begin one element late."""
    return changed(image, of_buffer(image, "ifmap")[0], spad_s1=lambda old: old + 1)


def wrong_dram_stride(image: images.Image) -> images.Image:
    return changed(image, of_buffer(image, "ifmap")[0], dram_s1=lambda old: old - 1)


def out_of_bounds(image: images.Image) -> images.Image:
    return changed(image, of_buffer(image, "weight")[0], spad=core.address(1, 0xFFFF000))


def writes_a_constant(image: images.Image) -> images.Image:
    return changed(image, int(part_of(image, dma.Store).indices[0]), dram=0)


def stale_debug_map(image: images.Image) -> images.Image:
    """Of the program before an instruction was put in."""
    assert image.debug is not None
    shifted = np.roll(image.debug.step_of, 1)
    return replace(image, debug=replace(image.debug, step_of=shifted))


def short_debug_map(image: images.Image) -> images.Image:
    debug = image.debug
    assert debug is not None
    columns = debug.node_of[:-1], debug.step_of[:-1]
    return replace(image, debug=replace(debug, node_of=columns[0], step_of=columns[1], units=()))


def dropped_load(image: images.Image) -> images.Image:
    """It loads nothing."""
    return changed(image, of_buffer(image, "weight")[0], d3=0)


def forgotten_store(image: images.Image) -> images.Image:
    """The last result goes where the one before went."""
    stores = part_of(image, dma.Store)
    before = int(stores.records["dram"][-2])
    return changed(image, int(stores.indices[-1]), dram=before)


def wrong_host_part(image: images.Image) -> images.Image:
    """It is given another tensor than the one that it was made for."""
    part = image.host[0]
    other = next(s.name for s in image.symbols if s.kind == "input")
    return replace(image, host=(replace(part, inputs=(other, *part.inputs[1:])),))


def hasty_host_part(image: images.Image) -> images.Image:
    """It does not wait for the accelerator."""
    waits = dict.fromkeys(programs.WAIT_NAMES, 0)
    return changed(image, int(part_of(image, control.Host).indices[0]), **waits)


def missing_host_part(image: images.Image) -> images.Image:
    return changed(image, int(part_of(image, control.Host).indices[0]), part=9)


def cut_host_model(image: images.Image) -> images.Image:
    part = image.host[0]
    return replace(image, host=(replace(part, model=part.model[:-9] + b"\xff" * 9),))


def swapped_symbol(image: images.Image) -> images.Image:
    """The input is said to lie elsewhere."""
    held = [replace(s, address=s.address + 64) if s.kind == "input" else s for s in image.symbols]
    return replace(image, symbols=tuple(held))


FAULTS = [
    # model, target, fault, what finds it, and what it says
    (RESNET, "eyeriss-like", dropped_wait, "race", "add @load0 to instruction 3"),
    (RESNET, "tpu-like", dropped_wait, "race", "add @load0"),
    (RESNET, "eyeriss-like", weakened_wait, "race", "add @tensor to instruction 4"),
    (RESNET, "eyeriss-like", swapped_slots, "leak", "loads what nothing uses"),
    (RESNET, "eyeriss-like", wrong_buffer, "symbol", "not in a slot of 'weight'"),
    (RESNET, "eyeriss-like", overlapping_allocation, "overlap", "'weight[0]' and 'psum[0]'"),
    (RESNET, "eyeriss-like", wrong_stride, "unwritten", "nothing has written"),
    (RESNET, "eyeriss-like", wrong_dram_stride, "symbol", "strides in DRAM that are not those"),
    (RESNET, "tpu-like", out_of_bounds, "bounds", "of a memory of"),
    (RESNET, "tpu-like", writes_a_constant, "constants", "writes to the constants"),
    (RESNET, "eyeriss-like", stale_debug_map, "debug map", "is not what the debug map says"),
    (RESNET, "eyeriss-like", short_debug_map, "structure", "the debug map is of"),
    (RESNET, "eyeriss-like", dropped_load, "unwritten", "'weight[0]'"),
    (RESNET, "eyeriss-like", forgotten_store, "unwritten", "nothing has written"),
    (HOSTED, "eyeriss-like", wrong_host_part, "host", "host part 0: its model has no input"),
    (HOSTED, "eyeriss-like", hasty_host_part, "race", "`host`"),
    (HOSTED, "tpu-like", missing_host_part, "structure", "there is no host part 9"),
    (HOSTED, "tpu-like", cut_host_model, "host", "not a valid model"),
    (RESNET, "tpu-like", swapped_symbol, "unwritten", "nothing has written"),
]
IDS = [f"{fault.__name__}-{target}" for _, target, fault, _, _ in FAULTS]


@pytest.mark.parametrize(("model", "target", "fault", "check", "text"), FAULTS, ids=IDS)
def test_the_verifier_finds_and_names_it(
    model: str, target: str, fault: Fault, check: str, text: str
) -> None:
    findings = verification.verify(fault(image_of(model, target)))
    named = [f for f in findings if f.check == check and text in f.text]
    assert named, "\n".join(map(str, findings))
    if check in ("race", "unwritten", "symbol", "bounds", "debug map"):
        assert "`" in named[0].text and named[0].instructions


@pytest.mark.parametrize(("model", "target", "fault", "check", "text"), FAULTS, ids=IDS)
def test_a_sanitized_run_refuses_it(
    model: str, target: str, fault: Fault, check: str, text: str
) -> None:
    """When it is loaded, if it could do harm, else with what the verifier finds."""
    try:
        faulty = load(fault(image_of(model, target)))
    except RunError:
        assert check in ("bounds", "structure", "constants")
        return
    with pytest.raises(errors.SanitizerError) as refused:
        faulty.run(None, files.random_inputs(faulty.get_inputs(), 1), sanitize=True)
    assert any(f.check == check and text in f.text for f in refused.value.findings)


def test_the_command_prints_a_line_per_finding(
    tmp_path: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    good, bad = tmp_path / "good.elf", tmp_path / "bad.elf"
    elf.save(image_of(RESNET, "eyeriss-like"), good)
    elf.save(stale_debug_map(image_of(RESNET, "eyeriss-like")), bad)
    assert verify.main([str(good)]) == 0
    assert capsys.readouterr().out == f"{good}: nothing wrong\n"
    assert verify.main([str(good), str(bad), "-q", "--most", "2"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3 and lines[-1].startswith(f"{bad}: ... and ")
    assert all(line.startswith(f"{bad}: ") for line in lines)
    assert verify.main([str(tmp_path / "none.elf")]) == 1
    assert "No such file" in capsys.readouterr().err


def test_a_sanitized_run_prints_them_too(tmp_path: Any, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "bad.elf"
    elf.save(dropped_wait(image_of(RESNET, "eyeriss-like")), path)
    assert cli.main([str(path), "--random", "1", "-q"]) == 0
    assert cli.main([str(path), "--random", "1", "-q", "--sanitize"]) == 1
    out, err = capsys.readouterr()
    assert out == "" and err.startswith(f"error: {path}: race: instruction 3 `tensor ")
    assert all(line.startswith(f"error: {path}: race: ") for line in err.splitlines())


# By hand


def tiny_image(build: Any, symbol: Any, rows: list[Any], **more: Any) -> images.Image:
    symbols = [
        symbol("x", "input", "int8", (1, 16), 64),
        symbol("y", "output", "int8", (1, 16), 128),
    ]
    found: images.Image = build.image(rows, symbols, **more)
    return found


def good_rows(build: Any) -> list[Any]:
    return [
        build.load(64, 0, 16),
        build.copy(0, 64, 16, after_load0=1),
        build.store(64, 128, 16, after_vector=1),
    ]


def test_dead_stores_and_leaks(build: Any, symbol: Any) -> None:
    rows = good_rows(build)
    rows[2:2] = [build.load(64, 256, 8), build.copy(0, 300, 8, after_load0=1)]
    found = verification.verify(tiny_image(build, symbol, rows))
    assert [(f.check, f.instructions) for f in found] == [("leak", (2,)), ("dead store", (3,))]


def test_an_output_that_nothing_writes(build: Any, symbol: Any) -> None:
    found = verification.verify(tiny_image(build, symbol, good_rows(build)[:2]))
    assert {f.check for f in found} == {"unwritten", "dead store"}
    assert "reads 0:0x80..0x90" in str(found[-1])


def test_waits_that_nothing_satisfies(build: Any, symbol: Any, tiny: Any) -> None:
    """Encoded waits point backwards, so only a Program that was never encoded has such."""
    image = tiny_image(build, symbol, good_rows(build))
    made = programs.Program.decode(image.text)
    waits = made.waits.copy()
    waits[1, core.ENGINES.index("tensor")] = 3
    findings = verification.Verification(replace(made, waits=waits), image, tiny).findings()
    assert [f.check for f in findings] == ["wait"]
    assert "waits for 3 of tensor, to which 0 were issued" in findings[0].text


def test_whatever_a_program_holds_the_verifier_ends(build: Any) -> None:
    """Random fields: findings or none, but no error."""
    image, found = image_of(HOSTED, "eyeriss-like"), 0
    rng = np.random.default_rng(3)
    for _ in range(150):
        decoded = programs.Program.decode(image.text)
        parts = [(p.indices, p.records.copy()) for p in decoded.parts]
        _, records = parts[rng.integers(len(parts) - 1)]
        name = str(rng.choice([n for n in records.dtype.names or () if n != "opcode"]))
        values = rng.integers(0, 1 << rng.integers(1, 33), records[name].shape)
        chosen = np.arange(len(records)) == rng.integers(len(records))
        records[name][chosen] = values.astype(records[name].dtype)[chosen]
        mutant = replace(image, text=programs.Program.encode(parts))
        found += bool(verification.verify(mutant))
    assert found > 100


def test_what_is_not_compared_is_a_finding(
    build: Any, symbol: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [build.load(64, 0, 16), build.load(64, 32, 16), build.copy(0, 48, 8)]
    monkeypatch.setattr(hazards, "MOST_PAIRS", 1)
    found = verification.verify(tiny_image(build, symbol, rows))
    assert any("too many instructions are unordered" in str(f) for f in found)


def test_undeclared_accesses(build: Any, symbol: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """An instruction that touches more than it says, which no proof from what it says can see."""
    rows = [build.load(64, 0, 16), pooled(after_load0=1), build.store(64, 128, 16, after_vector=1)]
    image = tiny_image(build, symbol, rows)
    feeds = {"x": np.zeros((1, 16), np.int8)}
    load(image).run(None, feeds, sanitize=True)
    execute = pool.Pool.execute

    def careless(self: pool.Pool, machine: Any) -> None:
        execute(self, machine)
        machine.view(1, 96, (4,), (1,), 0)[...] = 0

    monkeypatch.setattr(pool.Pool, "execute", careless)
    with pytest.raises(errors.SanitizerError, match="instruction 1 .*touches 1:0x60..0x64"):
        load(image).run(None, feeds, sanitize=True)


def pooled(**waits: int) -> Any:
    """The largest of one element each."""
    where = {"x": core.address(1, 0), "out": core.address(1, 64)}
    return pool.Pool.records(1, **where, op=pool.MAX, q=16, w=16, **waits)


def test_orders_that_are_not_legal(build: Any, symbol: Any) -> None:
    image = tiny_image(build, symbol, good_rows(build))
    made = session.InferenceSession(image)
    feeds = {"x": np.zeros((1, 1, 16), np.int8)}
    with pytest.raises(errors.SanitizerError, match="begins when 0 of load0 have retired, not 1"):
        made.execute(feeds, ["y"], [1, 0, 2, 3], [made.sanitizer()])
