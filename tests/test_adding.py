"""docs/adding.md: each diff applies to the sources as they are, and its check then passes."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.markdown import ROOT, Block, blocks

ADDING = ROOT / "docs" / "adding.md"
FOLDERS = ("compiler", "isa", "runtime", "targets")
NAMES = ("op", "pass", "instruction", "target", "dataflow")

BLOCKS = blocks(ADDING, "diff", "python")
EXAMPLES = list(zip(BLOCKS[::2], BLOCKS[1::2], strict=True))


@pytest.mark.parametrize(("diff", "check"), EXAMPLES, ids=NAMES)
def test_worked_example(diff: Block, check: Block, tmp_path: Path) -> None:
    copy = copied(tmp_path / "copy")
    assert (diff.language, check.language) == ("diff", "python")
    done(["git", "apply"], copy, diff.text, GIT_CEILING_DIRECTORIES=str(tmp_path))
    ours = f"import dnncc\nassert dnncc.__file__.startswith({str(copy)!r})\n"
    done([sys.executable, "-c", ours + check.text], tmp_path, PYTHONPATH=str(copy))


def copied(copy: Path) -> Path:
    """The sources, to be changed; on PYTHONPATH the copy is what `import dnncc` finds."""
    for folder in FOLDERS:
        shutil.copytree(ROOT / folder, copy / folder)
    for folder in FOLDERS[1:]:
        (copy / "compiler" / folder).symlink_to(copy / folder)
    (copy / "dnncc").symlink_to(copy / "compiler")
    return copy


def done(words: list[str], folder: Path, given: str = "", **settings: str) -> None:
    ran = subprocess.run(
        words,
        input=given,
        cwd=folder,
        env=os.environ | settings,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
