"""--list-ops and docs/operators.md: what becomes of a small example of each operator."""

import json
from pathlib import Path

import pytest

from dnncc.cli import main
from dnncc.frontend.probes import operators
from dnncc.operators import ACCELERATOR, HOST, compiled_for, markdown, rows, run_cases, support

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    "operator, place", [("Conv", ACCELERATOR), ("Add", ACCELERATOR), ("Det", HOST)]
)
def test_support(operator: str, place: str) -> None:
    found = support(operator, "tpu-like")
    assert found.place == place
    assert bool(found.forms) == (place == ACCELERATOR) and bool(found.reason) == (place == HOST)


def test_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--list-ops", "--json", "--target", "tpu-like"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert {"Conv", "MaxPool", "Relu"} <= {r["operator"] for r in told if r["place"] == ACCELERATOR}


EVERY = 9
"""Of the rows of the document, every 9th is made again."""


@pytest.mark.slow
def test_document_is_up_to_date() -> None:
    text = (ROOT / "docs" / "operators.md").read_text()
    for name in operators()[::EVERY]:
        for row in rows(name, compiled_for(), run_cases(name)):
            assert row in text.splitlines(), "python -m dnncc.operators > docs/operators.md"


def test_document_tells_of_all_operators() -> None:
    text = (ROOT / "docs" / "operators.md").read_text()
    assert text.startswith(markdown([], {}))
    assert all(f"\n| {name} |" in text for name in operators())
