"""Assembly texts: a program's instructions, or with directives all that a binary holds.

    .isa 1
    .dram 4096                                bytes of DRAM
    .tool "..."   .options {...}              JSON, as all that follows
    .target "clock_mhz = 200\n"               the target file, line by line
    .symbol {"name": "x", ...}                a tensor, as image.Symbol
    .debug                                    a debug map: names, then `.loc` in the program
    .node "Conv_1"   .step "k=0"              the names, numbered from 0
    .floor {"array": 900, ...}                what a node takes at least, as image.Floor
    .unit {"name": "ifmap[0]", ...}           a buffer, as image.Unit
    .loc 0 3                                  what follows is of node 0, step 3; -1 is none
    .host {"inputs": [...], ...}              a host part; `.model` lines hold its ONNX model
    .rodata ...   .model ...                  bytes, base64

The text of a whole image assembles to the same image. A directive takes its whole line; other lines
may end in a comment.
"""

from base64 import b64decode, b64encode
from collections.abc import Iterator
from functools import cache
from importlib.resources import files
from typing import Any, TypeVar

import lark
import msgspec
import numpy as np

from .core import DRAM, IsaError, instruction_set
from .image import ISA_VERSION, Debug, Floor, HostPart, Image, Symbol, Unit, check_image
from .lines import Reader, program_lines
from .program import Program
from .sections import json_bytes
from .starts import ProgramError, instruction_bytes

T = TypeVar("T")

BYTES_PER_LINE = 384
INDENT = "    "


class AssemblyError(IsaError):
    """What is wrong with line `line` of an assembly text; 0 where it is not in a line."""

    def __init__(self, line: int, message: str) -> None:
        super().__init__(f"line {line}: {message}" if line else message)
        self.line = line
        self.message = message


def disassemble(program: Program, image: Image | None = None) -> str:
    """The program as text, one instruction a line; with an image, all that it holds.

    Raises IsaError if the image's debug map is not of this program.
    """
    if image is None:
        return "\n".join([*program_lines(program), ""])
    parts = (head_lines(image), located_lines(program, image.debug), tail_lines(image))
    return "\n".join([*(line for part in parts for line in part), ""])


def head_lines(image: Image) -> Iterator[str]:
    yield f".isa {ISA_VERSION}"
    yield f".dram {image.dram_bytes}"
    yield f".tool {json(image.tool)}"
    yield f".options {json(image.options)}"
    for line in image.target.splitlines(keepends=True):
        yield f".target {json(line)}"
    for symbol in image.symbols:
        yield f".symbol {json(symbol)}"
    if image.debug is not None:
        yield ".debug"
        yield from (f".node {json(name)}" for name in image.debug.nodes)
        yield from (f".step {json(name)}" for name in image.debug.steps)
        yield from (f".unit {json(unit)}" for unit in image.debug.units)
        yield from (f".floor {json(floor)}" for floor in image.debug.floors)


def located_lines(program: Program, debug: Debug | None) -> Iterator[str]:
    """The instructions, with their byte offset, ONNX node and tile step as comments."""
    places = [(-1, -1)] * program.count
    if debug is not None:
        places = list(zip(debug.node_of.tolist(), debug.step_of.tolist(), strict=True))
    if len(places) != program.count:
        raise IsaError(f"the debug map is of {len(places)} instructions, not {program.count}")
    last = (-1, -1)
    for text, offset, place in zip(program_lines(program), program.offsets, places, strict=True):
        if place != last:
            yield f".loc {place[0]} {place[1]}"
            last = place
        yield f"{INDENT}{text}  ; {offset:#x}{place_comment(debug, *place)}"


def place_comment(debug: Debug | None, node: int, step: int) -> str:
    names = [debug.nodes[node]] if debug and node >= 0 else []
    names += [debug.steps[step]] if debug and step >= 0 else []
    return "".join(f" | {one_line(name)}" for name in names)


def one_line(name: str) -> str:
    return name if name.isprintable() else ascii(name)


def tail_lines(image: Image) -> Iterator[str]:
    for part in image.host:
        rest = {"inputs": part.inputs, "outputs": part.outputs, "reasons": part.reasons}
        yield f".host {json(rest)}"
        yield from byte_lines(".model", part.model)
    yield from byte_lines(".rodata", image.rodata)


def byte_lines(directive: str, data: bytes) -> Iterator[str]:
    for start in range(0, len(data), BYTES_PER_LINE):
        yield f"{directive} {b64encode(data[start : start + BYTES_PER_LINE]).decode()}"


def json(value: Any) -> str:
    return json_bytes(value).decode()


def assemble(text: str) -> bytes:
    """The words of the program in `text`. Raises AssemblyError if they are not a legal program."""
    return read_text(text).words()


def assemble_image(text: str, target: str | None = None) -> Image:
    """The image that `text` describes, for the target file `target` (if None, that of the text).

    DRAM is as large as `.dram` says, else as the program and the symbols need. Raises
    AssemblyError.
    """
    source = read_text(text)
    words = source.words()
    image = source.image(words, target)
    try:
        check_image(image)
    except IsaError as error:
        raise AssemblyError(0, str(error)) from None
    return image


@cache
def grammar() -> lark.Lark:
    text = files(__package__).joinpath("assembly.lark").read_text()
    return lark.Lark(text, parser="lalr", transformer=Statements())


class Statements(lark.Transformer[lark.Token, list[list[lark.Token]]]):
    """The tokens of each line that says something."""

    def instruction(self, tokens: list[lark.Token]) -> list[lark.Token]:
        return tokens

    directive = instruction

    def start(self, lines: list[list[lark.Token]]) -> list[list[lark.Token]]:
        return lines


def statements(text: str) -> list[list[lark.Token]]:
    try:
        found: Any = grammar().parse(text)
    except lark.UnexpectedInput as error:
        line = max(error.line, 1)
        rest = (text.splitlines() or [""])[line - 1 :][:1] or [""]
        raise AssemblyError(
            line, f"cannot read {rest[0][max(error.column - 1, 0) :][:40]!r}"
        ) from None
    return list(found)


class Source(msgspec.Struct):
    """What has been read of a text."""

    readers: dict[str, Reader]
    lines: list[int] = msgspec.field(default_factory=list)
    places: list[tuple[int, int]] = msgspec.field(default_factory=list)
    place: tuple[int, int] = (-1, -1)
    dram: int | None = None
    tool: str = ""
    options: dict[str, Any] = msgspec.field(default_factory=dict)
    target: list[str] = msgspec.field(default_factory=list)
    symbols: list[Symbol] = msgspec.field(default_factory=list)
    debug: bool = False
    nodes: list[str] = msgspec.field(default_factory=list)
    steps: list[str] = msgspec.field(default_factory=list)
    units: list[Unit] = msgspec.field(default_factory=list)
    floors: list[Floor] = msgspec.field(default_factory=list)
    host: list["HostLines"] = msgspec.field(default_factory=list)
    rodata: list[bytes] = msgspec.field(default_factory=list)

    def add(self, tokens: list[lark.Token]) -> None:
        """One line. Raises IsaError."""
        first = tokens[0]
        if first.type == "DIRECTIVE":
            name, _, rest = first[1:].partition(" ")
            self.directive(name.strip(), rest.strip())
            return
        reader = self.readers.get(first)
        if reader is None:
            raise IsaError(f"there is no instruction {str(first)!r}")
        reader.add(len(self.lines), tokens[1].split() if len(tokens) > 1 else [])
        self.lines.append(first.line or 0)
        self.places.append(self.place)

    def directive(self, name: str, rest: str) -> None:
        match name:
            case "isa":
                check_version(value(rest, int))
            case "dram":
                self.dram = value(rest, int)
            case "tool":
                self.tool = value(rest, str)
            case "options":
                self.options = value(rest, dict[str, Any])
            case "target":
                self.target.append(value(rest, str))
            case "symbol":
                self.symbols.append(value(rest, Symbol))
            case "host":
                self.host.append(value(rest, HostLines))
            case "model" if self.host:
                self.host[-1].model.append(data(rest))
            case "rodata":
                self.rodata.append(data(rest))
            case _:
                self.debug_directive(name, rest)

    def debug_directive(self, name: str, rest: str) -> None:
        match name:
            case "debug":
                self.debug = True
            case "node":
                self.nodes.append(value(rest, str))
            case "step":
                self.steps.append(value(rest, str))
            case "unit":
                self.units.append(value(rest, Unit))
            case "floor":
                self.floors.append(value(rest, Floor))
            case "loc":
                node, step = value(f"[{','.join(rest.split())}]", tuple[int, int])
                self.place = (node, step)
            case _:
                raise IsaError(f"directive .{name} is unknown or misplaced")

    def words(self) -> bytes:
        """.text, checked."""
        parts = [reader.part() for reader in self.readers.values() if reader.rows]
        text = Program.encode(parts)
        try:
            Program.decode(text)
        except ProgramError as error:
            raise AssemblyError(self.line_at(text, error.offset), error.message) from None
        except IsaError:
            raise AssemblyError(0, "there are no instructions") from None
        return text

    def line_at(self, text: bytes, offset: int) -> int:
        """The line of the instruction at a byte of .text."""
        at = number = 0
        while at < offset:
            at += instruction_bytes()[text[at]]
            number += 1
        return self.lines[number]

    def image(self, text: bytes, target: str | None) -> Image:
        own = "".join(self.target) if self.target else None
        chosen = own if target is None else target
        if chosen is None:
            raise AssemblyError(0, "no target is given, and the text has no .target lines")
        rodata = b"".join(self.rodata)
        return Image(
            text=text,
            rodata=rodata,
            dram_bytes=self.needed_dram(text, rodata) if self.dram is None else self.dram,
            target=chosen,
            symbols=tuple(self.symbols),
            host=tuple(part.joined() for part in self.host),
            debug=self.debug_map() if self.debug else None,
            tool=self.tool,
            options=self.options,
        )

    def needed_dram(self, text: bytes, rodata: bytes) -> int:
        touched = Program.decode(text).regions
        ends = touched.stop[touched.memory == DRAM].tolist()
        ends += [symbol.stop for symbol in self.symbols if symbol.memory == DRAM]
        return int(max(ends, default=0) if not rodata else max([len(rodata), *ends]))

    def debug_map(self) -> Debug:
        try:
            columns = np.array(self.places, np.int32).reshape(-1, 2)
        except OverflowError:
            raise AssemblyError(0, "a number of .loc is too large") from None
        names = tuple(self.nodes), tuple(self.steps)
        tables = tuple(self.units), tuple(self.floors)
        return Debug(*names, columns[:, 0], columns[:, 1], *tables)


class HostLines(msgspec.Struct, forbid_unknown_fields=True):
    """A `.host` line, and the bytes of the `.model` lines behind it."""

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    reasons: tuple[tuple[str, str], ...] = ()
    model: list[bytes] = msgspec.field(default_factory=list)

    def joined(self) -> HostPart:
        return HostPart(b"".join(self.model), self.inputs, self.outputs, self.reasons)


def read_text(text: str) -> Source:
    """Raises AssemblyError."""
    source = Source({cls.mnemonic: Reader(cls) for cls in instruction_set().values()})
    for tokens in statements(text):
        try:
            source.add(tokens)
        except IsaError as error:
            raise AssemblyError(tokens[0].line or 0, str(error)) from None
    return source


def check_version(version: int) -> None:
    if version != ISA_VERSION:
        raise IsaError(f"made for ISA version {version}; this dnncc reads version {ISA_VERSION}")


def value(text: str, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(text, type=kind)
    except (ValueError, RecursionError) as error:
        raise IsaError(f"{str(error).splitlines()[0]}: {text[:40]}") from None


def data(text: str) -> bytes:
    try:
        return b64decode(text, validate=True)
    except ValueError:
        raise IsaError("the bytes are not base64") from None
