"""Mappings as TOML files and as words of the command line: a table per ONNX node.

["conv1"]
steps = { k = 64, p = 7 }
order = ["k", "p"]
whole = ["weight"]
ring = ["ifmap"]
slots = { ifmap = 2 }
array = { filters = 16 }
cascade = { layers = 2, slice = 32 }
attached = 2
carried = 1
beside = "conv0"
"""

import json
import os
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ..diagnostics import CompileError
from ..ir.graph import Graph, Node
from .given import Given, of_table
from .lowering import count_attached
from .nodes import titles

LARGEST_FILE = 4 << 20
LONGEST_LINE = 10_000
Table = Mapping[str, Any]
Source = str | os.PathLike[str] | Mapping[str, Table]


def from_source(source: Source | None) -> dict[str, Given]:
    """From a file, or from tables by node. Raises CompileError, OSError."""
    if source is None:
        return {}
    if isinstance(source, Mapping):
        return from_tables(source, "mapping")
    return from_tables(read(Path(source)), str(source))


def from_tables(tables: Mapping[str, Any], source: str) -> dict[str, Given]:
    return {str(node): of_table(str(node), table, source) for node, table in tables.items()}


def read(path: Path) -> dict[str, Any]:
    with path.open("rb") as stream:
        data = stream.read(LARGEST_FILE + 1)
    if len(data) > LARGEST_FILE:
        raise CompileError(f"larger than {LARGEST_FILE} bytes", file=str(path))
    try:
        text = data.decode()
        if max(map(len, text.splitlines()), default=0) > LONGEST_LINE:
            raise ValueError(f"a line is longer than {LONGEST_LINE} characters")
        return tomllib.loads(text)
    except RecursionError:
        raise CompileError("nested too deeply", file=str(path)) from None
    except ValueError as error:
        raise CompileError(f"not TOML: {error}", file=str(path)) from None


# The command line


def from_words(texts: Iterable[str]) -> dict[str, Any]:
    """Tables by node, of `NODE: steps.k=64 order=k,p whole=weight`. Raises CompileError."""
    tables: dict[str, Any] = {}
    for text in texts:
        node, colon, words = text.rpartition(":")
        if not colon:
            hint = "write 'NODE: steps.k=64 array.filters=16'"
            raise CompileError("--mapping-node: no node", node=text, hint=hint)
        table = tables.setdefault(node.strip(), {})
        for word in words.split():
            put(table, node, word)
    return tables


def put(table: dict[str, Any], node: str, word: str) -> None:
    """One word into the table of its node."""
    key, equals, text = word.partition("=")
    if not equals or not key:
        hint = "write KEY=VALUE"
        raise CompileError(f"--mapping-node: '{word}'", node=node.strip(), hint=hint)
    name, _, inner = key.partition(".")
    value: object = int(text) if text.isascii() and text.isdigit() and len(text) < 10 else text
    if name in ("order", "whole", "ring"):
        value = [part for part in text.split(",") if part]
    if not inner:
        table[name] = value
        return
    known = table.get(name)
    table[name] = (known if isinstance(known, dict) else {}) | {inner: value}


def overlaid(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """Tables by node, of which `over` replaces single numbers and lists."""
    return base | {node: merged(base.get(node), table) for node, table in over.items()}


def merged(base: Any, over: Any) -> Any:
    if not isinstance(base, dict) or not isinstance(over, dict):
        return over
    return base | {key: merged(base.get(key), value) for key, value in over.items()}


def from_command(file: Path | None, words: Iterable[str]) -> dict[str, Given]:
    """What --mapping and --mapping-node say, the latter before the former."""
    tables, over = read(file) if file else {}, from_words(words)
    source = str(file) if file else "--mapping-node"
    return from_tables(overlaid(tables, over), source)


# Writing


def text_of(graph: Graph) -> str:
    """The mapping of every group, for a file that gives the same mapping again."""
    told: list[str] = []
    before = ""
    for name, group in titles(graph):
        told += lines(name, group, before)
        before = name
    return "\n".join(told)


def lines(name: str, group: Node, before: str = "") -> Iterator[str]:
    """`before` is the name of the group before it."""
    attrs, layers = group.attrs, sum(node.op == "conv2d" for node in group.body)
    mapping = attrs["mapping"]
    yield f"[{quoted(name)}]"
    yield f"steps = {inline(mapping['steps'])}"
    yield f"order = {listed(mapping['order'])}"
    yield f"whole = {listed(mapping['resident'])}"
    if layers:
        yield f"ring = {listed(mapping.get('ring', ()))}"
    yield f"slots = {inline(mapping['slots'])}"
    if "parameters" in mapping:
        yield f"array = {inline(mapping['parameters'])}"
    if "cascade" in attrs:
        yield f"cascade = {inline({'layers': layers, **attrs['cascade']})}"
    if (count := count_attached(group.body)) > 1:
        yield f"attached = {count}"
    if "carried" in attrs:
        yield "carried = 1"
    if "beside" in attrs:
        yield f"beside = {quoted(before)}"
    yield ""


def quoted(text: str) -> str:
    """A TOML string; DEL is the one character that JSON leaves as it is and TOML forbids."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def inline(table: Mapping[str, int]) -> str:
    return f"{{ {', '.join(f'{key} = {value}' for key, value in table.items())} }}"


def listed(names: Iterable[str]) -> str:
    return f"[{', '.join(map(quoted, names))}]"
