"""What README.md and docs/ tell to type works, and what they point to is there."""

import re
from pathlib import Path

import pytest

from tests.markdown import ROOT, blocks, commands, execute, run

README = ROOT / "README.md"
DOCUMENTS = [README, *sorted((ROOT / "docs").glob("[!_]*.md"))]


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the examples, to write files in as the README does."""
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_python(checkout: Path) -> None:
    """The blocks are one session: each builds on those before it."""
    names: dict[str, object] = {}
    assert blocks(README, "python")
    for block in blocks(README, "python"):
        execute(block, README, names)


def test_commands(checkout: Path) -> None:
    ours = [words for block in blocks(README, "sh") for words in commands(block)]
    assert len(ours) >= 4
    for words in ours:
        run(words)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda p: p.name)
def test_links(document: Path) -> None:
    text = re.sub(r"^```.*?^```", "", document.read_text(), flags=re.DOTALL | re.MULTILINE)
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if "://" in link or link.startswith("#"):
            continue
        assert (document.parent / link.partition("#")[0]).exists(), f"{document.name}: {link}"


def test_make_targets_that_are_mentioned_exist() -> None:
    made = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    told = set(re.findall(r"(?:`|^    )make ([a-z]+)", README.read_text(), re.MULTILINE))
    assert {"demo", "test"} <= told <= made
