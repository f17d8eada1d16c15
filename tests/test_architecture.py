"""The house: who may import whom, what is shipped, and how large a file may grow."""

import ast
import importlib
import importlib.metadata
import tomllib
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = {
    "isa": "dnncc.isa",
    "targets": "dnncc.targets",
    "compiler": "dnncc",
    "runtime": "dnncc.runtime",
}
"""Folder -> the name that it is installed under."""

MAY_IMPORT = {
    "isa": set[str](),
    "targets": {"isa"},
    "compiler": {"isa", "targets"},
    "runtime": {"isa", "targets"},
}
WIRING = {
    "compiler/__init__.py": {"runtime"},
    "compiler/tvm/invoke.py": {"runtime"},
    "compiler/accuracy.py": {"runtime"},
    "compiler/backend.py": {"runtime"},
    "compiler/check.py": {"runtime"},
    "compiler/compare.py": {"runtime"},
    "compiler/explain.py": {"runtime"},
}
"""The compiler also reaches the runtime for `dnncc.load`, to check what instructions compute, to
compare targets and to explain what a program costs."""

MOST_LINES = 400
VAGUE = {"utils", "util", "helpers", "helper", "common", "misc", "manager", "handler", "base"}

SOURCES = sorted(p for folder in FOLDERS for p in (ROOT / folder).rglob("*.py"))
ALL_PYTHON = [
    *SOURCES,
    *(
        p
        for name in ("tests", "benchmarks", "examples")
        for p in sorted((ROOT / name).rglob("*.py"))
    ),
]


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def settings() -> dict[str, dict[str, list[str]]]:
    found = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    return {"packages": {"": found["packages"]}, "data": found["package-data"]}


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """(level, module) of every import, at any depth of the file; level 0 is absolute."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((0, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            names = [module]
            if module == "dnncc" and node.level == 0:
                names = [f"dnncc.{alias.name}" for alias in node.names]
            yield from ((node.level, name) for name in names)


def folder_of(module: str) -> str | None:
    """The folder that a `dnncc` module lies in; None for the modules of others."""
    if module.split(".")[0] != "dnncc":
        return None
    second = [*module.split("."), ""][1]
    return second if second in FOLDERS and second != "compiler" else "compiler"


def test_layers() -> None:
    assert not [fault for path in SOURCES for fault in import_faults(path)]


def import_faults(path: Path) -> Iterator[str]:
    own, *inner = path.relative_to(ROOT).parts
    allowed = MAY_IMPORT[own] | WIRING.get(relative(path), set())
    for level, module in imports(path):
        folder = folder_of(module) if level == 0 else None
        if folder == own:
            yield f"{relative(path)}: {module}: imports inside {own}/ are relative"
        elif folder and folder not in allowed:
            yield f"{relative(path)}: {own}/ must not import {module}"
        elif level == 0 and module.split(".")[0] in FOLDERS:
            yield f"{relative(path)}: say dnncc.{module}, not {module}"
        elif level > len(inner):
            yield f"{relative(path)}: a relative import leaves {own}/"


def test_files_are_small_explained_and_named() -> None:
    for path in ALL_PYTHON:
        text = path.read_text()
        lines = text.count("\n")
        assert lines <= MOST_LINES, f"{relative(path)}: {lines} lines; split it by what it does"
        explained = not text.strip() or ast.get_docstring(ast.parse(text))
        assert explained, f"{relative(path)}: a module says what it is"
        assert path.stem not in VAGUE, f"{relative(path)}: a module is named by what it holds"


def test_every_package_is_shipped() -> None:
    """setuptools leaves out, silently, what pyproject.toml does not list."""
    found = {installed_name(p.parent) for p in SOURCES if p.name == "__init__.py"}
    assert set(settings()["packages"][""]) == found
    folders = {installed_name(p.parent) for p in SOURCES}
    assert folders == found, "a folder of modules has no __init__.py"


def installed_name(folder: Path) -> str:
    first, *rest = folder.relative_to(ROOT).parts
    return ".".join([FOLDERS[first], *rest])


def test_every_data_file_is_shipped() -> None:
    data = settings()["data"]
    for folder in FOLDERS:
        for path in (ROOT / folder).rglob("*"):
            if path.is_dir() or path.suffix in (".py", ".pyc"):
                continue
            inside = path.relative_to(ROOT / folder).as_posix()
            patterns = data.get(FOLDERS[folder], [])
            assert any(fnmatch(inside, p) for p in patterns), f"{relative(path)} is not shipped"


@pytest.mark.parametrize("name", FOLDERS.values())
def test_public_names(name: str) -> None:
    package = importlib.import_module(name)
    assert len(set(package.__all__)) == len(package.__all__)
    for public in package.__all__:
        if not hasattr(package, public):
            importlib.import_module(f"{name}.{public}")


def test_every_command_is_there() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for command, place in project["scripts"].items():
        module, _, function = place.partition(":")
        assert callable(getattr(importlib.import_module(module), function)), command


def test_licence_is_the_one_that_is_named() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["license"] == "Apache-2.0"
    assert "Apache License" in (ROOT / "LICENSE").read_text()
