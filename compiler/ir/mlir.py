"""MLIR's generic operation syntax: operations as plain data, printed and parsed back exactly.

`mlir-opt` and `xdsl-opt` with --allow-unregistered-dialect read what is printed here.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from importlib.resources import files
from math import isfinite
from typing import Any

from lark import Lark, Transformer, UnexpectedInput
from lark.exceptions import VisitError
from msgspec import Struct, field

from ..diagnostics import CompileError


class TensorType(Struct, frozen=True):
    """tensor<SHAPExELEMENT, {encoding}>"""

    shape: tuple[int, ...]
    element: str
    encoding: Mapping[str, Any] = field(default_factory=dict)


Type = TensorType | str


class Block(Struct, frozen=True):
    arguments: tuple[tuple[str, Type], ...]
    operations: tuple[Operation, ...]


class Operation(Struct, frozen=True):
    """Operands and results are SSA names without the `%`."""

    name: str
    operands: tuple[str, ...] = ()
    results: tuple[str, ...] = ()
    attrs: Mapping[str, Any] = field(default_factory=dict)
    body: Block | None = None
    operand_types: tuple[Type, ...] = ()
    result_types: tuple[Type, ...] = ()
    loc: tuple[str, ...] = ()


def print_operation(operation: Operation) -> str:
    return "\n".join(lines(operation, "")) + "\n"


def lines(op: Operation, indent: str) -> Iterator[str]:
    results = ", ".join(f"%{r}" for r in op.results)
    head = f"{indent}{results + ' = ' if results else ''}{quote(op.name)}"
    head += f"({', '.join(f'%{o}' for o in op.operands)})"
    attrs = f" {attribute(op.attrs)}" if op.attrs else ""
    tail = f"{attrs} : ({type_list(op.operand_types)}) -> {result_list(op.result_types)}"
    tail += location(op.loc)
    if op.body is None:
        yield head + tail
        return
    yield f"{head} ({{"
    yield from header(op.body, indent)
    for inner in op.body.operations:
        yield from lines(inner, indent + "  ")
    yield f"{indent}}}){tail}"


def header(block: Block, indent: str) -> Iterator[str]:
    if block.arguments:
        arguments = ", ".join(f"%{name}: {type_text(t)}" for name, t in block.arguments)
        yield f"{indent}^entry({arguments}):"


def type_list(types: Sequence[Type]) -> str:
    return ", ".join(map(type_text, types))


def result_list(types: Sequence[Type]) -> str:
    return type_list(types) if len(types) == 1 else f"({type_list(types)})"


def type_text(kind: Type) -> str:
    if isinstance(kind, str):
        return kind
    encoding = f", {attribute(kind.encoding)}" if kind.encoding else ""
    return f"tensor<{''.join(f'{n}x' for n in kind.shape)}{kind.element}{encoding}>"


def location(names: Sequence[str]) -> str:
    if not names:
        return ""
    quoted = ", ".join(map(quote, names))
    return f" loc({quoted})" if len(names) == 1 else f" loc(fused[{quoted}])"


def attribute(value: Any) -> str:
    """Booleans, integers, floats, strings, sequences and dictionaries of them."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return real(value)
    if isinstance(value, str):
        return quote(value)
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{k} = {attribute(v)}" for k, v in value.items()) + "}"
    return "[" + ", ".join(map(attribute, value)) + "]"


def real(value: float) -> str:
    """The shortest decimal that reads back as the same number; the bits of what has none."""
    if not isfinite(value):
        return f"0x{struct.pack('>d', value).hex().upper()} : f64"
    text = repr(value)
    if "." not in text:
        text = re.sub(r"^(-?\d+)", r"\1.0", text)
    return f"{text} : f64"


def quote(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + re.sub(r"[\x00-\x1f\x7f]", lambda m: f"\\{ord(m[0]):02X}", escaped) + '"'


def unquote(text: str) -> str:
    def character(match: re.Match[str]) -> str:
        code = match[1]
        return {"n": "\n", "t": "\t"}.get(code, chr(int(code, 16)) if len(code) == 2 else code)

    return re.sub(r"\\([0-9A-Fa-f]{2}|.)", character, text[1:-1])


def parse_operation(text: str, file: str = "<text>") -> Operation:
    try:
        operation = parser().parse(text)
    except UnexpectedInput as error:
        line = (text.splitlines() or [""])[min(error.line, text.count("\n") + 1) - 1]
        what = f"line {error.line}: unexpected text at column {error.column}: {line.strip()[:60]}"
        raise CompileError(what, file=file) from None
    except (VisitError, RecursionError) as error:
        raise CompileError(f"not a legal operation: {error}", file=file) from None
    assert isinstance(operation, Operation)
    return operation


@cache
def parser() -> Lark:
    grammar = files(__package__).joinpath("graph.lark").read_text()
    return Lark(grammar, parser="lalr", transformer=ToOperation(), maybe_placeholders=True)


class ToOperation(Transformer[Any, Any]):
    """What each rule of graph.lark means."""

    def start(self, items: list[Any]) -> Operation:
        operation: Operation = items[0]
        return operation

    def operation(self, items: list[Any]) -> Operation:
        results, name, operands, body, attrs, operand_types, result_types, loc = items
        return Operation(
            unquote(name), operands, results or (), attrs or {}, body,
            operand_types, result_types, loc or (),
        )  # fmt: skip

    def results(self, items: list[Any]) -> tuple[str, ...]:
        return tuple(str(i)[1:] for i in items if i is not None)

    values = results

    def region(self, items: list[Any]) -> Block:
        head, *operations = items
        return Block(head or (), tuple(operations))

    def header(self, items: list[Any]) -> tuple[Any, ...]:
        return tuple(i for i in items[1:] if i is not None)

    def argument(self, items: list[Any]) -> tuple[str, Type]:
        return str(items[0])[1:], items[1]

    def types(self, items: list[Any]) -> tuple[Type, ...]:
        return tuple(i for i in items if i is not None)

    def tensor(self, items: list[Any]) -> TensorType:
        *dims, element = str(items[0]).removeprefix("tensor<").split("x")
        return TensorType(tuple(map(int, dims)), element, items[1] or {})

    def plain_type(self, items: list[Any]) -> str:
        return str(items[0])

    def dictionary(self, items: list[Any]) -> dict[str, Any]:
        return dict(i for i in items if i is not None)

    def entry(self, items: list[Any]) -> tuple[str, Any]:
        return str(items[0]), items[1]

    def string(self, items: list[Any]) -> str:
        return unquote(items[0])

    def integer(self, items: list[Any]) -> int:
        return int(items[0])

    def real(self, items: list[Any]) -> float:
        return float(items[0])

    def bits(self, items: list[Any]) -> float:
        value: float = struct.unpack(">d", bytes.fromhex(items[0][2:]))[0]
        return value

    def true(self, items: list[Any]) -> bool:
        return True

    def false(self, items: list[Any]) -> bool:
        return False

    def array(self, items: list[Any]) -> tuple[Any, ...]:
        return tuple(i for i in items if i is not None)

    def location(self, items: list[Any]) -> tuple[str, ...]:
        return tuple(unquote(i) for i in items)
