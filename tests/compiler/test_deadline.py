"""--budget ends what no pass can: a library at work, whatever it catches."""

import signal
import time
from pathlib import Path
from typing import Any

import onnx
import pytest

from dnncc import cli, deadline
from dnncc.diagnostics import CompileError
from tests.compiler.networks import small_network


def busy(*given: Any) -> None:
    """As a library that retries whatever fails."""
    for _ in range(200):
        try:
            time.sleep(0.05)
        except Exception:
            continue


def test_the_alarm_ends_it_and_is_put_away(monkeypatch: pytest.MonkeyPatch) -> None:
    before, start = signal.getsignal(signal.SIGALRM), time.monotonic()
    with pytest.raises(CompileError, match=r"the budget of 0\.1 s is used up in"):
        with deadline.limited(0.1):
            busy()
    assert time.monotonic() - start < 1.1
    assert signal.getsignal(signal.SIGALRM) == before
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


def test_what_is_done_in_time_is_left_alone() -> None:
    with deadline.limited(60.0):
        pass
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


@pytest.mark.parametrize("place", ["frontend.importer.load_model", "driver.image"])
def test_the_command_is_refused_by_name(
    place: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    onnx.save(small_network(), tmp_path / "net.onnx")
    monkeypatch.setattr(f"dnncc.{place}", busy)
    out = tmp_path / "out.elf"
    start = time.monotonic()
    assert cli.main([str(tmp_path / "net.onnx"), "-o", str(out), "-q", "--budget", "2"]) == 1
    assert time.monotonic() - start < 8
    err = capsys.readouterr().err
    assert "the budget of 2 s is used up in " in err and err.count("\n") == 1
    assert list(tmp_path.iterdir()) == [tmp_path / "net.onnx"]


@pytest.mark.parametrize("budget", ["-1", "nan", "soon"])
def test_a_budget_is_a_number_of_seconds(budget: str) -> None:
    with pytest.raises(SystemExit):
        cli.main(["net.onnx", "--budget", budget])
