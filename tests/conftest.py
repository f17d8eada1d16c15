"""`golden(text)`: the text is in tests/golden/; `pytest --update-golden` rewrites it."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

os.environ["DNNCC_CACHE"] = "off"  # nothing that is tested depends on earlier runs


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="rewrite tests/golden/")


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[str], None]:
    name = request.node.name.replace("[", "-").replace("]", "")
    path = Path(__file__).parent / "golden" / request.path.stem / f"{name}.txt"

    def check(text: str) -> None:
        if request.config.getoption("--update-golden"):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text.rstrip("\n") + "\n")
        assert text.rstrip("\n") + "\n" == path.read_text()

    return check
