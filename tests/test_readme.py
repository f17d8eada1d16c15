"""What README.md and docs/ tell to type works, and what they point to is there."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
DOCUMENTS = [README, *sorted((ROOT / "docs").glob("[!_]*.md"))]
COMMANDS = ("dnncc", "dnncc-run", "dnncc-objdump", "dnncc-as")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README.read_text(), re.DOTALL | re.MULTILINE)


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the examples, to write files in as the README does."""
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_python(checkout: Path) -> None:
    """The blocks are one session: each builds on those before it."""
    names: dict[str, object] = {}
    assert blocks("python")
    for block in blocks("python"):
        exec(compile(block, str(README), "exec"), names)


def test_commands(checkout: Path) -> None:
    lines = [line for block in blocks("sh") for line in block.splitlines()]
    ours = [words for line in lines if (words := shlex.split(line, True)) and words[0] in COMMANDS]
    assert len(ours) >= 4
    folder = Path(sys.executable).parent
    for words in ours:
        if not (folder / words[0]).exists():
            pytest.skip(f"{words[0]} is not beside {sys.executable}")
        ran = subprocess.run(
            [folder / words[0], *words[1:]],
            capture_output=True,
            text=True,
            check=False,
            env=os.environ | {"PYTHONWARNINGS": "error"},
        )
        assert ran.returncode == 0, f"{shlex.join(words)}: {ran.stderr}"
        assert "Traceback" not in ran.stderr


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
