"""Target files: from TOML text to a checked `Target` and back.

A target file is not trusted: it is small, names no path, and whatever is wrong with it ends in a
`TargetError` of one line, `FILE: key: reason`.
"""

import re
import tomllib
from pathlib import Path
from typing import Any, get_args

import msgspec

from .checks import problems
from .schema import Array, Target
from .text import Document, is_rows, leaves

LARGEST_FILE = 64 * 1024
LONGEST_LINE = 1000
LONGEST_CHAIN = 8
SHIPPED = Path(__file__).parent
FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


class TargetError(ValueError):
    """A target that cannot be used; the text is one line that names file and key."""


def names() -> list[str]:
    """The names of the targets that come with the package."""
    return sorted(path.stem for path in SHIPPED.glob("*.toml"))


def load(name_or_path: str | Path) -> Target:
    """The target of that name, or of that file (a path ends in .toml or has a slash).

    Raises TargetError when there is none or when it is not valid.
    """
    path = Path(name_or_path)
    if path.suffix != ".toml" and len(path.parts) < 2:
        path = shipped(str(name_or_path))
    return decode(resolve(read(path), path, (path,)), str(path))


def loads(text: str, source: str = "target") -> Target:
    """The target of TOML text; `extends` may name a shipped target. Raises TargetError."""
    path = Path(source)
    if len(text.encode(errors="replace")) > LARGEST_FILE:
        raise TargetError(f"{source}: larger than {LARGEST_FILE} bytes")
    return decode(resolve(parse(text, path), path, ()), source)


def diff(a: Target, b: Target) -> list[str]:
    """One line per key in which two targets differ: "clock_mhz: 200.0 != 700.0"."""
    left, right = dict(leaves(a.document())), dict(leaves(b.document()))
    keys = list(left) + [k for k in right if k not in left]
    pairs = ((k, left.get(k, "nothing"), right.get(k, "nothing")) for k in keys)
    return [f"{k}: {x} != {y}" for k, x, y in pairs if x != y]


# Reading


def shipped(name: str) -> Path:
    if name not in names():
        known = ", ".join(names())
        raise TargetError(f"{name}: no such target; there are {known}, or give a path to a .toml")
    return SHIPPED / f"{name}.toml"


def read(path: Path) -> Document:
    if not path.is_file():
        raise TargetError(f"{path}: no such file")
    try:
        with path.open("rb") as stream:
            data = stream.read(LARGEST_FILE + 1)
        text = data.decode()
    except (OSError, UnicodeDecodeError) as error:
        raise TargetError(f"{path}: {one_line(error)}") from None
    if len(data) > LARGEST_FILE:
        raise TargetError(f"{path}: larger than {LARGEST_FILE} bytes")
    return parse(text, path)


def parse(text: str, path: Path) -> Document:
    # tomllib takes time quadratic in the depth of a dotted key
    if max(map(len, text.splitlines()), default=0) > LONGEST_LINE:
        raise TargetError(f"{path}: a line is longer than {LONGEST_LINE} characters")
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise TargetError(f"{path}: nested too deeply") from None
    except ValueError as error:
        raise TargetError(f"{path}: not TOML: {one_line(error)}") from None


def resolve(document: Document, path: Path, seen: tuple[Path, ...]) -> Document:
    """The document merged into the one that it extends, if it does."""
    if "extends" not in document:
        return document
    base = base_file(document.pop("extends"), path)
    if base in seen:
        raise TargetError(f"{path}: extends: {base.name} extends this file")
    if len(seen) >= LONGEST_CHAIN:
        raise TargetError(f"{path}: extends: more than {LONGEST_CHAIN} files in a chain")
    try:
        merged: Document = merge(resolve(read(base), base, (*seen, base)), document)
        return merged
    except RecursionError:
        raise TargetError(f"{path}: nested too deeply") from None


def base_file(name: object, path: Path) -> Path:
    """The file that `extends` names: a shipped target, or a file beside the one that extends."""
    if not isinstance(name, str) or not FILE_NAME.fullmatch(name):
        raise TargetError(f"{path}: extends: must be the name of a target or of a file beside")
    if name in names():
        return SHIPPED / f"{name}.toml"
    beside = path.parent / name
    if beside.suffix != ".toml" or not beside.is_file():
        raise TargetError(f"{path}: extends: no target and no file beside is called {name!r}")
    return beside


def merge(base: Any, over: Any) -> Any:
    """`over` laid over `base`: tables key by key, lists of tables by name, all else replaced.

    A table that names another dataflow replaces the whole table, whose keys are of the old one.
    """
    if isinstance(base, dict) and isinstance(over, dict):
        if "dataflow" in base and over.get("dataflow", base["dataflow"]) != base["dataflow"]:
            return over
        return base | {k: merge(base.get(k), v) for k, v in over.items()}
    if is_rows(base) and is_rows(over):
        return list(merge(by_name(base), by_name(over)).values())
    return over


def by_name(rows: list[Document]) -> Document:
    return {str(row.get("name")): row for row in rows}


# Decoding


def decode(document: Document, source: str) -> Target:
    try:
        target = msgspec.convert(numbered(document), Target)
    except msgspec.ValidationError as error:
        raise TargetError(f"{source}: {reworded(str(error))}") from None
    for key, reason in problems(target):
        raise TargetError(f"{source}: {key}: {reason}")
    return target


def numbered(document: Document) -> Document:
    """The document with each memory's id, its place in the list, where it is not given."""
    memories = document.get("memory")
    if not is_rows(memories):
        return document
    return document | {"memory": [{"id": i} | m for i, m in enumerate(memories or (), 1)]}


def reworded(message: str) -> str:
    """A msgspec message with the key first: "array.rows: must be >= 1"."""
    reason, _, path = message.partition(" - at `$")
    key = path.strip("`").lstrip(".")
    if match := re.search(r"(missing required|unknown) field `([^`]*)`", reason):
        problem = "unknown key" if match[1] == "unknown" else "is missing"
        return one_line(f"{key}.{match[2]}".lstrip(".") + f": {problem}")
    if key == "array.dataflow":
        reason += f"; there are {', '.join(dataflows())}"
    reason = re.sub(r"^Expected `(\w+)` ([<>=]+ )", r"must be \2", reason)
    reason = reason[0].lower() + reason[1:]
    return one_line(f"{key}: {reason}")


def dataflows() -> list[str]:
    return sorted(str(table.__struct_config__.tag) for table in get_args(Array))


def one_line(error: object) -> str:
    return " ".join(str(error).split())[:200]
