"""The wheel holds all that a user needs, and works without the checkout."""

import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = ("compiler", "isa", "runtime", "targets")
SCRIPT = """
import pathlib, sys
import dnncc, dnncc.isa, dnncc.runtime, dnncc.targets
assert pathlib.Path(dnncc.__file__).is_relative_to(sys.argv[1]), dnncc.__file__
artifact = dnncc.compile(sys.argv[2], "tpu-like")
artifact.save(sys.argv[3])
print(dnncc.load(sys.argv[3]).profile.cycles, len(artifact.asm()))
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Built from a copy, so that neither leftovers get in nor new ones stay."""
    pytest.importorskip("setuptools", minversion="77")
    copy = tmp_path_factory.mktemp("checkout")
    for folder in FOLDERS:
        shutil.copytree(ROOT / folder, copy / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    command = [sys.executable, "-m", "pip", "wheel", ".", "--no-deps", "--no-build-isolation", "-q"]
    ran = subprocess.run(command, cwd=copy, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    yield next(copy.glob("*.whl"))


def test_contents(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    shipped = {name for name in names if name.startswith("dnncc/")}
    expected = {
        f"dnncc/{place(path)}"
        for folder in FOLDERS
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }
    assert shipped == expected
    others = {name.split("/")[0] for name in names - shipped}
    assert len(others) == 1 and others.pop().endswith(".dist-info")
    assert any(name.endswith("licenses/LICENSE") for name in names)


def place(path: Path) -> str:
    """Where a file of the checkout lies under dnncc/."""
    return path.relative_to(ROOT).as_posix().removeprefix("compiler/")


def test_it_works_alone(wheel: Path, tmp_path: Path) -> None:
    installed = tmp_path / "installed"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(installed)
    model = ROOT / "examples" / "resnet8" / "model.onnx"
    arguments = [str(installed), str(model), str(tmp_path / "model.elf")]
    ran = subprocess.run(
        [sys.executable, "-c", SCRIPT, *arguments],
        cwd=tmp_path,
        env={"PYTHONPATH": str(installed), "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    cycles, characters = map(int, ran.stdout.split())
    assert cycles > 0 and characters > 0
