"""The sweep prints a line per model and target, and finds what is wrong with a binary."""

import sys
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest

from benchmarks import sweep
from tests.compiler import faults
from tests.compiler.networks import small_network


@pytest.fixture
def run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, list[str]]]:
    (tmp_path / "models" / "net").mkdir(parents=True)
    onnx.save(small_network(), tmp_path / "models" / "net" / "model.onnx")

    def main(*more: str) -> tuple[int, list[str]]:
        folders = ["--models", str(tmp_path / "models"), "--cache", str(tmp_path / "cache")]
        monkeypatch.setattr(sys, "argv", ["sweep", *folders, *more])
        return sweep.main(), capsys.readouterr().out.splitlines()

    return main


Run = Callable[..., tuple[int, list[str]]]


def test_a_line_per_target_and_a_summary(run: Run) -> None:
    status, lines = run("--targets", "tpu-like,eyeriss-jssc17", "--check-each-pass")
    assert status == 0
    assert lines[0].split()[:3] == ["net", "tpu-like", "ok"]
    assert lines[1].split()[:3] == ["net", "eyeriss-jssc17", "refused"]
    assert "psums of 16 bits" in lines[1]
    assert lines[2:] == ["2 cells: 1 ok, 1 refused, 0 bounded, 0 FOUND"]


def test_a_fault_of_the_binary_is_found(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    spoilt = faults.planted("synchronize", faults.without_waits)
    monkeypatch.setattr("dnncc.driver.compile_model.__defaults__", ((), spoilt))
    status, lines = run("--targets", "tpu-like")
    assert status == 1 and "FOUND" in lines[0] and "race: instruction" in lines[0]


def test_a_wrong_value_is_found_where_every_pass_is_run(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoilt = faults.planted("legalize", faults.on_node("maxpool", faults.with_attrs(kernel=(1, 2))))
    monkeypatch.setattr("dnncc.driver.compile_model.__defaults__", ((), spoilt))
    assert run("--targets", "tpu-like")[0] == 0
    status, lines = run("--targets", "tpu-like", "--check-each-pass")
    assert status == 1 and "pass legalize changed the values: node 'N_y'" in lines[0]


def test_what_takes_too_long_is_bounded(run: Run) -> None:
    status, lines = run("--targets", "tpu-like", "--seconds", "0.001")
    assert status == 0 and lines[0].split()[2] == "bounded"
    assert lines[-1] == "1 cells: 0 ok, 0 refused, 1 bounded, 0 FOUND"


def test_no_models_is_no_success(run: Run) -> None:
    assert run("--only", "absent")[0] == 1
