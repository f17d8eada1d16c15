"""Samples from files, and one line for each fault of theirs."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dnncc import cli
from dnncc.diagnostics import CompileError
from dnncc.frontend.calibration import Input, read_samples, synthetic
from tests.compiler.frontend.floats import network, samples

F32 = np.dtype(np.float32)
ONE = [Input("x", (1, 3, 8, 8), F32)]
TWO = [Input("a", (2, 3), F32), Input("b", (2,), np.dtype(np.int32))]


def saved(path: Path, **arrays: Any) -> Path:
    np.savez(path, **arrays)
    return path


def test_first_dimension_counts_samples(tmp_path: Path) -> None:
    got = read_samples(saved(tmp_path / "d.npz", x=samples(5)), ONE)
    assert [s["x"].shape for s in got] == [(1, 3, 8, 8)] * 5
    np.testing.assert_array_equal(np.concatenate([s["x"] for s in got]), samples(5))


def test_batches_and_several_inputs() -> None:
    got = read_samples({"a": np.zeros((6, 3)), "b": np.zeros((3, 2), np.int64)}, TWO)
    assert [(s["a"].shape, str(s["b"].dtype)) for s in got] == [((2, 3), "int32")] * 3


def test_folder_of_both_kinds(tmp_path: Path) -> None:
    saved(tmp_path / "a.npz", x=samples(2))
    np.save(tmp_path / "x.npy", samples(3))
    (tmp_path / "README").write_text("not a sample")
    assert len(read_samples(tmp_path, ONE)) == 5


def test_each_file_of_a_folder_counts(tmp_path: Path) -> None:
    """Of a model with one input; a file may also hold one sample without its batch of 1."""
    for index, sample in enumerate(samples(3)):
        np.save(tmp_path / f"photo{index}.npy", sample)
    got = np.concatenate([s["x"] for s in read_samples(tmp_path, ONE)])
    np.testing.assert_array_equal(got, samples(3))


def test_data_that_is_not_used_is_noted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model, out = tmp_path / "model.onnx", tmp_path / "a.elf"
    model.write_bytes(network().SerializeToString())
    data = saved(tmp_path / "d.npz", x=samples(2))
    asked = [str(model), "--precision", "float", "--calibrate", str(data), "-o", str(out)]
    assert cli.main(asked) == 0
    assert "is not used" in capsys.readouterr().err


def test_synthetic_samples_are_seeded() -> None:
    first, second = synthetic(ONE), synthetic(ONE)
    assert all((a["x"] == b["x"]).all() for a, b in zip(first, second, strict=True))
    assert (first[0]["x"] != first[1]["x"]).any()


FAULTS = {
    "unknown": ({"y": samples()}, "'y' is no input of the model"),
    "missing": ({}, "'x' is missing"),
    "shape": ({"x": np.zeros((4, 3, 8, 9), np.float32)}, "has shape"),
    "type": ({"x": np.full((1, 3, 8, 8), "a")}, "not float32"),
    "not finite": ({"x": np.full((1, 3, 8, 8), np.nan)}, "not finite"),
    "empty": ({"x": np.zeros((0, 3, 8, 8))}, "has shape"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_faulty_arrays(fault: str, tmp_path: Path) -> None:
    arrays, message = FAULTS[fault]
    with pytest.raises(CompileError, match=message):
        read_samples(saved(tmp_path / "d.npz", **arrays), ONE)


def test_counts_differ() -> None:
    with pytest.raises(CompileError, match="different counts"):
        read_samples({"a": np.zeros((4, 3)), "b": np.zeros((3, 2), np.int32)}, TWO)


def test_command_says_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = tmp_path / "m.onnx"
    model.write_bytes(network().SerializeToString())
    (tmp_path / "junk.npz").write_bytes(b"junk")
    (tmp_path / "none").mkdir()
    for data in ("junk.npz", "none", "absent.npz"):
        output = str(tmp_path / "m.elf")
        status = cli.main([str(model), "-o", output, "--calibrate", str(tmp_path / data)])
        told = capsys.readouterr().err
        assert status == 1 and told.startswith("error: ") and told.count("\n") == 1, told
        assert data in told and not Path(output).exists()


def test_command_warns_even_when_quiet(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model, data = tmp_path / "m.onnx", saved(tmp_path / "d.npz", x=samples())
    model.write_bytes(network().SerializeToString())
    given = [str(model), "-q", "-o", str(tmp_path / "m.elf"), "--target", "tpu-like"]
    assert cli.main(given) == 0
    assert "accuracy is UNKNOWN" in capsys.readouterr().err
    assert cli.main([*given, "--calibrate", str(data), "--accuracy", str(data)]) == 0
    told = capsys.readouterr()
    assert not told.err
    assert told.out.startswith("accuracy of 'y': signal to noise") and "top-1" in told.out
