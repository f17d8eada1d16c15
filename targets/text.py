"""Documents (nested dicts, lists, strings, numbers) as TOML text, and as dotted keys."""

import json
from collections.abc import Iterator
from typing import Any

Document = dict[str, Any]


def to_toml(document: Document) -> str:
    """TOML text of a document whose keys are bare and whose strings hold no control characters."""
    return "\n".join(table_lines(document, "")).strip() + "\n"


def table_lines(table: Document, path: str) -> Iterator[str]:
    """Lines of a table: its values, then its tables, then its lists of tables."""
    nested = {k: v for k, v in table.items() if isinstance(v, dict) or is_rows(v)}
    yield from (f"{k} = {value_text(v)}" for k, v in table.items() if k not in nested)
    for key, value in nested.items():
        brackets = "[[{}]]" if isinstance(value, list) else "[{}]"
        for row in value if isinstance(value, list) else [value]:
            yield ""
            yield brackets.format(path + key)
            yield from table_lines(row, f"{path}{key}.")


def value_text(value: object) -> str:
    """A string, a number or a list of them; JSON's form of these is TOML's too."""
    return json.dumps(value, ensure_ascii=False)


def is_rows(value: object) -> bool:
    """Whether the value is a list of tables."""
    return isinstance(value, list) and bool(value) and all(isinstance(v, dict) for v in value)


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """(dotted key, text) of every leaf; the rows of a list of tables go by their names."""
    if is_rows(value):
        value = {row["name"]: row for row in value}
    if not isinstance(value, dict):
        yield path, value if isinstance(value, str) else value_text(value)
        return
    for key, inner in value.items():
        yield from leaves(inner, f"{path}.{key}".lstrip("."))
