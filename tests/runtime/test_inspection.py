"""Tensors inside, elements, stopping, traces and the debugger."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from msgspec.structs import replace

from dnncc.isa import core, elf
from dnncc.isa import image as images
from dnncc.runtime import RunError, cli, debugger, dump, load, trace
from tests.e2e.running import compiled

RESNET = "mlperf_tiny_ic_resnet8_int8"
SPEECH = "tflm_micro_speech_int8"


@pytest.fixture
def image(build: Any, symbol: Any) -> images.Image:
    """y = x, through `mid` in DRAM, whose bytes y then takes over in part."""
    rows = [
        build.load(64, 0, 16),
        build.store(0, 192, 16, after_load0=1),
        build.load(192, 32, 16, after_store0=1),
        build.copy(32, 64, 16, after_load0=1),
        build.store(64, 200, 16, after_vector=1),
    ]
    held = [
        symbol("x", "input", "int8", (1, 4, 4), 64),
        symbol("mid", "tensor", "int8", (4, 4), 192),
        symbol("y", "output", "int8", (1, 16), 200),
    ]
    units = (
        images.Unit("x", 0, 64, 80, 0, 5, ("x",)),
        images.Unit("ifmap[0]", 1, 0, 48, 0, 5),
        images.Unit("psum[0]", 1, 64, 80, 3, 4),
        images.Unit("mid", 0, 192, 208, 1, 2, ("mid",)),
        images.Unit("y", 0, 200, 216, 3, 5, ("y",)),
    )
    node_of, step_of = np.array([[0, 0, 1, 1, 1, 1], [0, 1, 2, -1, 3, -1]], np.int32)
    steps = ("load ifmap <- x", "store mid <- ifmap", "load ifmap <- mid", "store y <- psum")
    debug = images.Debug(("Copy_0", "Copy_1"), steps, node_of, step_of, units)
    found: images.Image = build.image(rows, held, debug=debug)
    return found


@pytest.fixture
def x() -> Any:
    return np.arange(-8, 8, dtype=np.int8).reshape(1, 4, 4)


@pytest.fixture
def files_of(image: images.Image, x: Any, tmp_path: Path) -> tuple[Path, Path]:
    """The binary and its input."""
    model, data = tmp_path / "model.elf", tmp_path / "in.npz"
    elf.save(image, model)
    np.savez(data, x=x)
    return model, data


# Tensors


def test_tensors_are_taken_before_their_memory_is_used_again(
    files_of: tuple[Path, Path], x: Any, tmp_path: Path
) -> None:
    model, data = files_of
    folder = tmp_path / "tensors"
    for schedule in ("serial", "random:3"):
        arguments = [model, "--input", data, "-q", "--dump-tensors", folder]
        assert cli.main([*map(str, arguments), "--schedule", schedule, "--sanitize"]) == 0
        assert sorted(p.name for p in folder.iterdir()) == [
            "index.json", "mid.npy", "x.npy", "y.npy",
        ]  # fmt: skip
        for name in ("x", "mid", "y"):
            assert (np.load(folder / f"{name}.npy").reshape(-1) == x.reshape(-1)).all()
    index = {row["tensor"]: row for row in json.loads((folder / "index.json").read_text())}
    assert [index[n]["last_writer"] for n in ("x", "mid", "y")] == [-1, 1, 4]


def test_a_dump_has_what_a_node_left(x: Any) -> None:
    """Against copies made when the node that makes a tensor has ended."""
    for model, target in ((RESNET, "eyeriss-like"), (SPEECH, "tpu-like")):
        made = compiled(model, target)
        rng = np.random.default_rng(0)
        feeds = {
            t.name: rng.integers(-128, 128, t.shape, t.dtype) for t in made.session.get_inputs()
        }
        seen = dump.Dump(made.session.verification, made.session.image.symbols)
        made.session.run(None, feeds, observers=[seen])
        expected, got = made.inner(feeds), seen.arrays()
        assert set(expected) <= set(got)
        for name, value in expected.items():
            np.testing.assert_array_equal(got[name], value, name)


def test_names_of_files_do_not_lead_out_of_the_folder() -> None:
    for name in ("../x", "/etc/x", "..", "a" * 500, "x;y/z"):
        file = dump.file_name(name, 7)
        assert "/" not in file and file not in (".", "..") and len(file) < 200


def test_only_finished_tensors_are_dumped(files_of: tuple[Path, Path], tmp_path: Path) -> None:
    model, data = map(str, files_of)
    folder = tmp_path / "tensors"
    assert cli.main([model, "--input", data, "--until", "2", "--dump-tensors", str(folder)]) == 0
    assert sorted(p.stem for p in folder.glob("*.npy")) == ["mid", "x"]


def test_until_says_where_it_stopped(
    files_of: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    model, data = map(str, files_of)
    assert cli.main([model, "--input", data, "--until", "2"]) == 0
    assert capsys.readouterr().out == (
        "stopped      before instruction 2 `load dram=0xc0 spad=1:0x20 d3=16 @store0` "
        "(node 'Copy_1', load ifmap <- mid)\n"
    )
    assert cli.main([model, "--input", data, "--until", "2", "--output", "y.npz"]) == 1
    assert "not --output" in capsys.readouterr().err


# Elements


def test_watch_names_who_touches_an_element(
    files_of: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    model, data = map(str, files_of)
    assert cli.main([model, "--input", data, "-q", "--watch", "mid[2,1]"]) == 0
    first, writes, reads = capsys.readouterr().out.splitlines()
    assert first == "mid[2, 1] is 0:0xc9..0xca"
    # load: bytes 11..15, store: 15..19, load: 19 + 10..33; and nothing of y, who comes later
    assert writes.startswith("  cycles 15..19  writes      1  instruction 1 `store ")
    assert reads.startswith("  cycles 29..33  reads       1  instruction 2 `load ")


@pytest.mark.parametrize("text", ["mid", "none[0]", "mid[4,0]", "mid[0]", "mid[-1,0]", "mid[0,0"])
def test_elements_that_do_not_exist(
    files_of: tuple[Path, Path], text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    model, data = map(str, files_of)
    assert cli.main([model, "--input", data, "--watch", text]) == 1
    assert text in capsys.readouterr().err


# Traces


class Event(msgspec.Struct, forbid_unknown_fields=True):
    """What the trace-event format knows of the events that are written."""

    ph: str
    pid: int
    tid: int
    name: str
    ts: float = 0
    dur: float = 0
    cat: str = ""
    id: int | None = None
    bp: str | None = None
    args: dict[str, Any] = {}


class Trace(msgspec.Struct, forbid_unknown_fields=True):
    traceEvents: list[Event]
    displayTimeUnit: str
    otherData: dict[str, Any]


def test_a_trace_is_of_the_format_and_complete(tmp_path: Path) -> None:
    made = compiled(RESNET, "eyeriss-like").session
    model, path = tmp_path / "m.elf", tmp_path / "t.json"
    elf.save(made.image, model)
    assert cli.main([str(model), "--random", "1", "-q", "--trace", str(path)]) == 0
    found = msgspec.json.decode(path.read_bytes(), type=Trace)
    events, timeline = found.traceEvents, made.profile.timeline
    slices = [e for e in events if e.ph == "X" and "instruction" in e.args]
    assert [e.args["instruction"] for e in slices] == list(range(made.program.count))
    period = 1 / made.target.clock_mhz
    np.testing.assert_allclose([e.ts for e in slices], timeline.start * period)
    np.testing.assert_allclose([e.dur for e in slices], (timeline.end - timeline.start) * period)
    names = {e.args["name"] for e in events if e.name == "thread_name"}
    assert {"load0", "store0", "tensor", "vector", "ONNX nodes"} <= names
    check_rows(events)
    check_arrows(events)
    check_counters(events, made)


def check_rows(events: list[Event]) -> None:
    """Slices of a row follow each other."""
    for row in {e.tid for e in events if e.ph == "X"}:
        mine = sorted((e.ts, e.dur) for e in events if e.ph == "X" and e.tid == row)
        for (start, size), (after, _) in zip(mine, mine[1:], strict=False):
            assert start + size <= after + 1e-6


def check_arrows(events: list[Event]) -> None:
    """From inside a slice of one engine to the begin of one of another, later."""
    starts = {e.id: e for e in events if e.ph == "s"}
    ends = {e.id: e for e in events if e.ph == "f"}
    assert starts and starts.keys() == ends.keys()
    spans = [(e.tid, e.ts, e.ts + e.dur) for e in events if e.ph == "X"]
    for key, start in starts.items():
        assert start.ts <= ends[key].ts and start.tid != ends[key].tid
        assert any(t == start.tid and a <= start.ts <= b for t, a, b in spans)
        assert any(t == ends[key].tid and abs(a - ends[key].ts) < 1e-9 for t, a, _ in spans)


def check_counters(events: list[Event], made: Any) -> None:
    """The rate adds up to the bytes that were moved; scratchpads are empty at the end."""
    period, report = 1 / made.target.clock_mhz, made.profile.report
    moved = 0.0
    for name in ("read", "written"):
        mine = [e for e in events if e.name == f"DRAM bytes per cycle {name}"]
        values = [e.args["bytes"] for e in mine]
        moved += float(np.dot(values[:-1], np.diff([e.ts for e in mine]) / period))
        assert values[-1] == 0
    assert moved == pytest.approx(report["dram_bus_bytes"], rel=1e-3)
    for memory in made.target.memories:
        used = [e.args["bytes"] for e in events if e.name == f"{memory.name} in use"]
        assert used[-1] == 0 and 0 < max(used) <= memory.bytes


def test_a_trace_without_a_debug_map(image: images.Image, x: Any) -> None:
    made = load(replace(image, debug=None))
    found = trace.trace(made.verification, made.profile.timeline)["traceEvents"]
    assert {e["name"] for e in found if e["ph"] == "X"} == {"load", "store", "map", "halt"}


# The debugger


def talk(files: tuple[Path, Path], *commands: str) -> list[str]:
    """Through stdin of the command itself."""
    code = "import sys; from dnncc.runtime.cli import main; sys.exit(main())"
    model, data = map(str, files)
    done = subprocess.run(
        [sys.executable, "-c", code, model, "--input", data, "--debug"],
        input="\n".join(commands), capture_output=True, text=True, check=True,
    )  # fmt: skip
    return done.stdout.splitlines()


def test_the_debugger_from_a_script(files_of: tuple[Path, Path]) -> None:
    out = talk(
        files_of,
        "break node Copy_1  # a comment",
        "continue",
        "print mid",
        "x 1:0x0 i8 2x4",
        "queues",
        "counters",
        "step 2",
        "quit",
        "step",
    )
    assert out == [
        "cycles 11..15: instruction 0 `load dram=0x40 spad=1:0x0 d3=16` "
        "(node 'Copy_0', load ifmap <- x)",
        "breakpoint 1: node Copy_1",
        "cycles 29..33: instruction 2 `load dram=0xc0 spad=1:0x20 d3=16 @store0` "
        "(node 'Copy_1', load ifmap <- mid)",
        "mid: int8[4, 4] at 0:0xc0",
        "[[-8 -7 -6 -5]",
        " [-4 -3 -2 -1]",
        " [ 0  1  2  3]",
        " [ 4  5  6  7]]",
        "[[-8 -7 -6 -5]",
        " [-4 -3 -2 -1]]",
        "load0    1 of 2 next instruction 2 `load dram=0xc0 spad=1:0x20 d3=16 @store0` "
        "(node 'Copy_1', load ifmap <- mid)",
        "store0   1 of 2 next instruction 4 `store dram=0xc8 spad=1:0x40 d3=16 @vector` "
        "(node 'Copy_1', store y <- psum)",
        "vector   0 of 1 next instruction 3 `map x=1:0x20 out=1:0x40 d3=16 @load0` (node 'Copy_1')",
        "load0    4 cycles busy, 0 MACs, 16 bytes of DRAM, 16 of scratchpads",
        "store0   4 cycles busy, 0 MACs, 16 bytes of DRAM, 16 of scratchpads",
        "vector   0 cycles busy, 0 MACs, 0 bytes of DRAM, 0 of scratchpads",
        "cycles 39..43: instruction 4 `store dram=0xc8 spad=1:0x40 d3=16 @vector` "
        "(node 'Copy_1', store y <- psum)",
    ]


def session_of(image: images.Image, x: Any) -> debugger.Debugger:
    return debugger.Debugger(load(image), {"x": x})


def test_breakpoints_of_every_kind(image: images.Image, x: Any) -> None:
    commands = ["b address 1:0x45", "c", "c", "c", "info", "delete 1", "c", "c"]
    out = list(session_of(image, x).run(commands))
    assert ["instruction 3" in out[2], "instruction 4" in out[3]] == [True, True]
    assert out[4:] == [
        "end of the program", "breakpoint 1: address 1:0x45", "no breakpoints",
        "error: the program has ended", "error: the program has ended",
    ]  # fmt: skip
    stopped = list(session_of(image, x).run(["b cycle 20", "c", "where"]))
    assert "instruction 2" in stopped[-1] and stopped[-1] == stopped[-2]
    assert "instruction 4" in list(session_of(image, x).run(["b 4", "c"]))[-1]


@pytest.mark.parametrize(
    ("command", "answer"),
    [
        ("jump 3", "no command 'jump'"),
        ("break", "break needs"),
        ("break node Conv", "no node's name holds 'Conv'"),
        ("break cycle 9999", "the program ends in cycle"),
        ("break address 12", "not MEMORY:BYTE"),
        ("step -1", "'-1' is negative"),
        ("step x", "'x' is not a number"),
        ("print q", "no tensor 'q'"),
        ("x 1:0", "x needs"),
        ("x 9:0 i8", "out of bounds"),
        ("x 1:0 i8 999999999", "out of bounds"),
        ("delete 3", "no breakpoint 3"),
    ],
)
def test_commands_that_cannot_be(image: images.Image, x: Any, command: str, answer: str) -> None:
    first, error = session_of(image, x).run([command])
    assert error.startswith("error: ") and answer in error


def test_help_lists_every_command(image: images.Image, x: Any) -> None:
    made = session_of(image, x)
    text = " ".join(made.run(["help"]))
    assert all(name in text for name in made.commands)


# The watchdog


def test_the_watchdogs_name_engine_instruction_and_node(image: images.Image, x: Any) -> None:
    """A program that was never encoded, in which load and vector wait for each other."""
    made = load(image)
    waits = made.program.waits.copy()
    waits[2, core.ENGINES.index("vector")] = 1
    made.program = replace(made.program, waits=waits)
    stuck = (
        "load0 at instruction 2 `load .*` .node 'Copy_1', load ifmap <- mid. waits for "
        "instruction 3 `map .*vector at instruction 3 `map .* waits for instruction 2 `load "
    )
    with pytest.raises(RunError, match=f"no progress at cycle 19: {stuck}"):
        _ = made.profile
    with pytest.raises(RunError, match="load0 at instruction 2 .*Copy_1.* waits for 1 of vector"):
        made.run(None, {"x": x}, "random:1")
