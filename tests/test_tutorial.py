"""docs/tutorial.md: what it tells to type works, and what it shows is what comes out."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.markdown import ROOT, Block, blocks, commands, execute, run

TUTORIAL = ROOT / "docs" / "tutorial.md"
DUMPS = ("*.mlir", "*.s")


def test_tutorial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In order: Python is one session, and an excerpt is of what was printed or dumped before."""
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    printed: list[str] = []
    shown = 0
    for block in blocks(TUTORIAL, "python", "sh", "mlir", "text"):
        if block.language == "python":
            execute(block, TUTORIAL, names)
        elif block.language == "sh":
            printed += [run(words) for words in commands(block)]
        else:
            outputs = (*printed, *dumped(tmp_path))
            assert any(excerpt(block, o) for o in outputs), f"line {block.line}:\n{block.text}"
            shown += 1
    assert shown >= 8 and printed


def dumped(folder: Path) -> Iterator[str]:
    for pattern in DUMPS:
        yield from (path.read_text() for path in folder.glob(f"*/{pattern}"))


def excerpt(block: Block, output: str) -> bool:
    """Whether the block's lines are some of the output's, in order; "..." stands for anything."""
    lines = iter(output.splitlines())
    return all(any(is_like(line, real) for real in lines) for line in block.text.splitlines())


def is_like(shown: str, real: str) -> bool:
    parts = (re.escape(part.strip()) for part in shown.split("..."))
    return re.fullmatch(r"\s*" + r".*?".join(parts) + r"\s*", real) is not None


def test_an_excerpt_is_in_order_and_whole() -> None:
    output = "first 1 a\nsecond 2 b\n  third 3 c\n"
    for text in ("first 1 a\nthird 3 c\n", "first ... a\n", "second ...\n"):
        assert excerpt(Block("text", text, 1), output)
    for text in ("third 3 c\nfirst 1 a\n", "first\n", "fourth\n", "first ... b\n"):
        assert not excerpt(Block("text", text, 1), output)
