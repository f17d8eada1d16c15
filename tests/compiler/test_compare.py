"""dnncc-compare: a table, the same values, and one-line errors."""

import json
from pathlib import Path

import numpy as np
import pytest

from dnncc.compare import agreement, listed_targets, main

MODEL = str(Path(__file__).parents[2] / "examples" / "resnet8" / "model.onnx")


def test_two_targets(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = tmp_path / "r.json"
    assert main([MODEL, "--targets", "eyeriss-like,tpu-like", "--report", str(report)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["eyeriss-like", "tpu-like"]
    assert lines[-1].split() == ["outputs", "the", "first", "the", "same"]
    reports = json.loads(report.read_text())
    cycles = next(line for line in lines if line.startswith("cycles"))
    assert cycles.split()[1:] == [f"{r['cycles']:,}" for r in reports.values()]


def test_all_shipped_targets_but_those_of_narrow_psums() -> None:
    names = listed_targets(None)
    assert "eyeriss-like" in names and "eyeriss-jssc17" not in names


def test_values_that_differ_are_counted() -> None:
    a, b = np.arange(4.0), np.array([0, np.nan, 2, 4])
    assert agreement({"x": [a], "y": [b]}) == {"x": "the first", "y": "2 differ"}
    assert agreement({"x": [b], "y": [b.copy()]})["y"] == "the same"


@pytest.mark.parametrize(
    "more", [["--targets", "no-such"], ["--targets", ","], ["--input", "none.npz"]]
)
def test_errors_are_one_line(more: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([MODEL, "--targets", "tpu-like", *more]) == 1
    err = capsys.readouterr().err
    assert err.startswith("error: ") and err.count("\n") == 1
