"""dnncc-run: what it prints and writes, and that every error is one line and leaves nothing."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dnncc.isa import elf
from dnncc.runtime import RunError, cli, files


@pytest.fixture
def model(build: Any, symbol: Any, tmp_path: Path) -> Path:
    """y = x, through the vector engine."""
    rows = [
        build.load(64, 0, 16),
        build.copy(0, 64, 16, after_load0=1),
        build.store(64, 128, 16, after_vector=1),
    ]
    symbols = [symbol("x", "input", "int8", (1, 16), 64)]
    symbols += [symbol("file", "output", "int8", (1, 16), 128)]
    path = tmp_path / "model.elf"
    path.write_bytes(elf.write(build.image(rows, symbols)))
    return path


@pytest.fixture
def x() -> Any:
    return np.arange(-8, 8, dtype=np.int8)[None]


def refused(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """The one line that the command ends with."""
    assert cli.main([str(a) for a in arguments]) == 1
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("error: ") and err.count("\n") == 1
    return err


def test_inputs_outputs_and_report(
    model: Path, x: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.savez(tmp_path / "in.npz", x=x)
    out, report = tmp_path / "out.npz", tmp_path / "report.json"
    arguments = [model, "--input", tmp_path / "in.npz", "--output", out, "--report", report, "-v"]
    assert cli.main([str(a) for a in arguments]) == 0
    printed = capsys.readouterr().out
    # load: bytes 11..15; copy: 4 + 2 cycles, until 21; store: bytes 21..25
    assert "cycles       25 = 0.2 us" in printed or "cycles       25 = 0.3 us" in printed
    assert "file: int8[1, 16] in -8..7, best classes 15, 14, 13, 12, 11" in printed
    assert "dram_latency" in printed
    with np.load(out) as found:
        assert (found["file"] == x).all()
    assert json.loads(report.read_text())["cycles"] == 25
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "in.npz", "model.elf", "out.npz", "report.json",
    ]  # fmt: skip


@pytest.mark.parametrize("option", [["--no-grouping"], ["--threads", "2"], []])
def test_how_it_is_executed_changes_nothing(
    model: Path, x: Any, tmp_path: Path, option: list[str]
) -> None:
    np.save(tmp_path / "x.npy", x)
    out = tmp_path / "out.npz"
    arguments = [str(model), "--input", f"x={tmp_path / 'x.npy'}", "--output", str(out), *option]
    code = f"import sys; from dnncc.runtime import cli; sys.exit(cli.main({arguments}))"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
    with np.load(out) as found:
        assert (found["file"] == x).all()


def test_quiet_and_named_arrays(
    model: Path, x: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.save(tmp_path / "x.npy", x)
    assert cli.main([str(model), "--input", f"x={tmp_path / 'x.npy'}", "-q"]) == 0
    assert capsys.readouterr() == ("", "")


def test_the_same_seed_gives_the_same_bytes(model: Path, tmp_path: Path) -> None:
    paths = [tmp_path / f"{name}.npz" for name in "abc"]
    for path, seed in zip(paths, (1, 1, 2), strict=True):
        assert cli.main([str(model), "--random", str(seed), "--output", str(path), "-q"]) == 0
    a, b, c = (path.read_bytes() for path in paths)
    assert a == b != c


def test_a_binary_that_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert "nothing.elf: No such file" in refused(capsys, "nothing.elf")


def test_a_corrupt_binary(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = bytearray(model.read_bytes())
    data[200] ^= 255
    model.write_bytes(data)
    line = refused(capsys, model, "--random", 1, "--output", tmp_path / "out.npz")
    assert "model.elf: checksum" in line
    assert not (tmp_path / "out.npz").exists()


def test_inputs_are_asked_for(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = refused(capsys, model)
    assert "model.elf: input 'x', tensor(int8) [1, 16], is missing; give --input or --ran" in line


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"z": np.zeros(3)}, "in.npz: the model has no input 'z'; it has 'x'"),
        ({"x": np.zeros((1, 16))}, "input 'x': expected int8[1, 16], got float64[1, 16]"),
        ({"x": np.zeros((1, 15), np.int8)}, "expected int8[1, 16], got int8[1, 15]"),
        ({"x": np.array(["a"])}, "in.npz: not an array of numbers"),
        ({"x": np.array([{}])}, "in.npz: cannot be read as an array of numbers"),
    ],
)
def test_arrays_that_do_not_fit(
    model: Path, tmp_path: Path, arrays: Any, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    np.savez(tmp_path / "in.npz", **arrays)
    assert message in refused(capsys, model, "--input", tmp_path / "in.npz")


def test_files_that_are_no_arrays(
    model: Path, x: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    junk, array = tmp_path / "junk.npz", tmp_path / "x.npy"
    junk.write_bytes(b"PK junk")
    np.save(array, x)
    assert "not an .npz file" in refused(capsys, model, "--input", junk)
    assert "no such file" in refused(capsys, model, "--input", "x=nothing.npy")
    assert "which input is it?" in refused(capsys, model, "--input", array)
    assert "cannot be read" in refused(capsys, model, "--input", f"x={model}")
    twice = ("--input", f"x={array}", "--input", f"x={array}")
    assert "'x' is given twice" in refused(capsys, model, *twice)


def test_targets_and_schedules(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "nowhere: no such target" in refused(capsys, model, "--target", "nowhere")
    assert "no schedule 'fast'" in refused(capsys, model, "--random", 1, "--schedule", "fast")
    assert cli.main([str(model), "--target", "tpu-like"]) == 1
    err = capsys.readouterr().err
    assert "compiled for target 'tiny', not for 'tpu-like'" in err
    assert "\n  clock_mhz: 100.0 != 700.0\n" in err


def test_an_output_that_cannot_be_written(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main([str(model), "--random", "1", "-q", "--output", str(tmp_path / "no/o.npz")])
    assert "o.npz" in capsys.readouterr().err


def test_a_bug_is_told_from_an_error(
    model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(files, "random_inputs", lambda *_: 1 / 0)
    assert cli.main([str(model), "--random", "1"]) == 70
    assert "internal error: ZeroDivisionError" in capsys.readouterr().err


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    path.write_text("old")

    def write(stream: Any) -> None:
        stream.write(b"half")
        raise RunError("stopped")

    with pytest.raises(RunError):
        files.replace(path, write)
    assert [p.name for p in tmp_path.iterdir()] == ["report.json"]
    assert path.read_text() == "old"


def test_help_and_version_import_nothing_heavy(capsys: pytest.CaptureFixture[str]) -> None:
    code = (
        "import sys; from dnncc.runtime import cli\n"
        "try: cli.main(['--help'])\n"
        "except SystemExit: pass\n"
        "sys.exit(bool({'numpy', 'onnx', 'msgspec', 'rich'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "--schedule" in done.stdout
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("dnncc-run 0.")


def test_a_hostile_npy_header_is_refused(tmp_path: Path) -> None:
    header = b"{'descr': '|i1', 'fortran_order': False, 'shape': (1000000000000000, ), }"
    header += b" " * (118 - len(header)) + b"\n"
    data = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header
    (tmp_path / "x.npy").write_bytes(data)
    with pytest.raises(RunError, match="cannot be read as an array"):
        files.read_inputs([f"x={tmp_path / 'x.npy'}"], [])
