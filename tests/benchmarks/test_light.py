"""The table of the light networks: what a row says, and when it is a failure."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import networks
from benchmarks.light import __main__ as command
from benchmarks.light.files import group, save
from benchmarks.light.results import Results
from benchmarks.networks import FORMS


def test_arrays_keep_their_groups(tmp_path: Path) -> None:
    path = tmp_path / "arrays.npz"
    save(path, {"inner": {"a/b:0": np.arange(3)}, "output": {"names": np.ones(2)}})
    assert list(group(path, "inner")) == ["a/b:0"]
    np.testing.assert_array_equal(group(path, "output")["names"], np.ones(2))


def bytes_of(*values: int) -> Any:
    return np.array(values, np.uint8)


def test_unsigned_values_differ_by_their_distance() -> None:
    ours, theirs = {"a": bytes_of(1, 2, 3)}, {"a": bytes_of(1, 3, 1), "b": bytes_of(0)}
    found = command.total(ours, theirs)
    assert (found.elements, found.different, found.most) == (3, 2, 2)


def test_there_are_nine() -> None:
    assert len(networks.names()) == 9
    assert set(command.FORMS) <= {command.FLOAT, *FORMS}


def test_a_network_that_is_not_there_fails(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["--networks", "none", "--forms", "float", "--targets", "tpu-like"]
    assert command.main([*asked, "--cache", str(tmp_path)]) == 1
    assert "FAILED" in capsys.readouterr().out


@pytest.mark.slow
def test_squeezenet_is_exact(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["--networks", "squeezenet", "--forms", "qop-u8s8", "--targets", "tpu-like"]
    assert command.main([*asked, "--cache", str(tmp_path)]) == 0
    row = capsys.readouterr().out.splitlines()[-1]
    assert "| 100.00% | 0 of 1,000 (0) |" in row


def differing(different: int, most: float) -> command.Difference:
    return command.Difference(1000, different, most)


NONE = differing(0, 0)


@pytest.mark.parametrize(
    ("outputs", "alone", "sums", "exact", "right"),
    [
        (NONE, NONE, NONE, True, True),
        (differing(1, 1), NONE, NONE, True, False),
        (differing(1000, 5e-7), NONE, NONE, False, True),
        (differing(1000, 5e-6), NONE, NONE, False, False),
        (NONE, differing(1, 1), NONE, True, False),
        (NONE, differing(1, 1), differing(1, 1), True, True),
        (NONE, differing(3, 1), differing(3, 1), True, False),
        (NONE, differing(1, 3), differing(1, 3), True, False),
    ],
)
def test_what_is_right(
    outputs: command.Difference,
    alone: command.Difference,
    sums: command.Difference,
    exact: bool,
    right: bool,
) -> None:
    found = command.Found(outputs, NONE, alone, sums, largest=1.0, width=1)
    assert found.is_right(exact) == right


@pytest.mark.parametrize(("ties", "most", "right"), [(2, 2, True), (2, 3, False), (3, 1, False)])
def test_sums_of_16_bits_are_a_step_off_in_a_few(ties: int, most: float, right: bool) -> None:
    off = differing(ties, most)
    found = command.Found(differing(900, 0.1), NONE, off, off, largest=1.0, width=2)
    assert found.is_right(exact=False) == right


def test_known_rows_are_not_measured_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    known, row = tmp_path / "rows.jsonl", ["none", "float", "tpu-like", "1.0"]
    Results(known).add(row, right=True)
    asked = ["--networks", "none", "--forms", "float", "--targets", "tpu-like", "eyeriss-like"]
    assert command.main([*asked, "--cache", str(tmp_path), "--results", str(known)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[-2] == f"| {' | '.join(row)} |"
    assert "FAILED" in lines[-1]
