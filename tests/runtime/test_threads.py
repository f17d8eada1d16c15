"""Threads of matrix products: one unless told, and never silently another number."""

import os
import subprocess
import sys
from contextlib import nullcontext
from typing import Any

import pytest

from dnncc.runtime import RunError, threads


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """No variables in the environment, no threadpoolctl."""
    for name in threads.VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(threads, "controller", lambda: None)
    return monkeypatch


def test_less_than_one(bare: pytest.MonkeyPatch) -> None:
    with pytest.raises(RunError, match="0 threads"), threads.limited(0):
        pass


def test_a_number_that_cannot_be_set_is_refused(bare: pytest.MonkeyPatch) -> None:
    with threads.limited(None):
        pass
    with pytest.raises(RunError, match="install threadpoolctl"), threads.limited(2):
        pass
    bare.setenv("OMP_NUM_THREADS", "2")
    with threads.limited(2):
        pass


def test_the_controller_is_told(bare: pytest.MonkeyPatch) -> None:
    told: list[int] = []

    class Controller:
        def limit(self, limits: int, user_api: str) -> Any:
            told.append(limits)
            return nullcontext()

    bare.setattr(threads, "controller", Controller)
    for number in (None, 3):
        with threads.limited(number):
            pass
    bare.setenv("OPENBLAS_NUM_THREADS", "2")
    with threads.limited(None):
        pass
    assert told == [1, 3, 2]


@pytest.mark.parametrize(
    ("given", "number", "expected"),
    [({}, None, "1"), ({}, 2, "2"), ({"OMP_NUM_THREADS": "4"}, None, "")],
)
def test_a_command_sets_them_before_numpy(
    given: dict[str, str], number: int | None, expected: str
) -> None:
    code = (
        "import os, runpy, sys\n"
        "from dnncc.runtime.threads import VARIABLES, before_numpy\n"
        "assert 'numpy' not in sys.modules\n"
        f"before_numpy({number})\n"
        "print(os.environ.get(VARIABLES[0], ''))\n"
    )
    kept = {k: v for k, v in os.environ.items() if k not in threads.VARIABLES}
    command = [sys.executable, "-c", code]
    run = subprocess.run(command, env=kept | given, capture_output=True, text=True, check=True)
    assert run.stdout.strip() == expected
