"""The code blocks of the documents, and their commands, run as a reader would."""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1]


class Block(NamedTuple):
    """`line` is that of its first line in the document, from 1."""

    language: str
    text: str
    line: int


def blocks(document: Path, *languages: str) -> list[Block]:
    """The blocks of these languages, in order."""
    text = document.read_text(encoding="utf-8")
    found = re.finditer(r"^```(\w+)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    every = (Block(m[1], m[2], text.count("\n", 0, m.start(2)) + 1) for m in found)
    return [block for block in every if block.language in languages]


def execute(block: Block, document: Path, names: dict[str, object]) -> None:
    """Run a block of Python in a session's names; errors tell the document's line."""
    text = "\n" * (block.line - 1) + block.text
    exec(compile(text, str(document), "exec"), names)


def commands(block: Block) -> Iterator[list[str]]:
    """The words of the lines that call dnncc or one of its tools."""
    for line in block.text.splitlines():
        words = shlex.split(line, comments=True)
        if words and words[0].partition("-")[0] == "dnncc":
            yield words


def run(words: list[str]) -> str:
    """What the command prints; it must succeed, without a warning."""
    program = Path(sys.executable).parent / words[0]
    if not program.exists():
        pytest.skip(f"{words[0]} is not beside {sys.executable}")
    ran = subprocess.run(
        [program, *words[1:]],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONWARNINGS": "error"},
    )
    assert ran.returncode == 0, f"{shlex.join(words)}: {ran.stderr}"
    assert "Traceback" not in ran.stderr
    return ran.stdout + ran.stderr
