"""Programs as text on a stream, before and after passes: --print-before, --print-after,
--print-changed, --filter."""

from collections.abc import Collection
from difflib import get_close_matches, unified_diff
from typing import TextIO

from msgspec import Struct

from dnncc.targets import Target

from ..diagnostics import CompileError
from ..ir.graph import Graph
from ..ir.tile import TileProgram
from ..passes.pipeline import Pass, Program, level_of
from .observer import Observer
from .text import comment, graph_of, is_from, part_of, text_of


class Sheet(Struct, frozen=True):
    """Where to print, and what of a program; `node` is "" for all of it."""

    stream: TextIO
    target: Target
    node: str = ""

    def text(self, program: Program) -> str:
        if self.node:
            return part_of(program, self.target, self.node)
        return text_of(program, self.target)

    def print(self, program: Program, title: str, body: str) -> None:
        self.stream.write(f"{comment(program, f'----- {title} -----')}\n{body}")
        self.stream.flush()


class Present(Observer):
    """Refuses a --filter that no ONNX node of the first program is called."""

    def __init__(self, node: str) -> None:
        self.node, self.is_known = node, False

    def before(self, step: Pass, program: Program | None) -> None:
        if program is not None:
            self.check(program)

    def after(self, step: Pass, program: Program) -> None:
        self.check(program)

    def check(self, program: Program) -> None:
        if self.is_known:
            return
        names = list(dict.fromkeys(name for node in graph_of(program).walk() for name in node.loc))
        if not is_from(tuple(names), self.node):
            near = get_close_matches(self.node, names) or names[:3]
            hint = f"there are {', '.join(near)}" if near else "* stands for anything"
            raise CompileError(f"--filter {self.node}: no node is called so", hint=hint)
        self.is_known = True


class Printing(Observer):
    """Prints before the passes in `before`, and after those in `after`; "all" is every pass."""

    def __init__(self, sheet: Sheet, before: Collection[str], after: Collection[str]) -> None:
        self.sheet = sheet
        self.wanted_before, self.wanted_after = before, after

    def before(self, step: Pass, program: Program | None) -> None:
        if program is not None and is_wanted(step, self.wanted_before):
            self.sheet.print(program, f"before {step.name}", self.sheet.text(program))

    def after(self, step: Pass, program: Program) -> None:
        if is_wanted(step, self.wanted_after):
            self.sheet.print(program, f"after {step.name}", self.sheet.text(program))


def is_wanted(step: Pass, names: Collection[str]) -> bool:
    return step.name in names or "all" in names


class Changes(Observer):
    """Prints what each pass changed, as a diff; all of it where the level is a new one."""

    def __init__(self, sheet: Sheet) -> None:
        self.sheet = sheet
        self.level = ""
        self.text = ""

    def before(self, step: Pass, program: Program | None) -> None:
        if program is not None and not self.level:
            self.level, self.text = level_of(program), self.sheet.text(program)

    def after(self, step: Pass, program: Program) -> None:
        text, level = self.sheet.text(program), level_of(program)
        if level != self.level:
            self.sheet.print(program, f"{level} program after {step.name}", text)
        elif text != self.text:
            self.sheet.print(program, f"changed by {step.name}", difference(self.text, text))
        self.level, self.text = level, text


def difference(old: str, new: str) -> str:
    lines = unified_diff(old.splitlines(True), new.splitlines(True), "before", "after", n=2)
    return "".join(lines)


class Progress(Observer):
    """A line per pass: how large the program is now."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream

    def after(self, step: Pass, program: Program) -> None:
        self.stream.write(f"{step.name}: {size_of(program)}\n")


def size_of(program: Program) -> str:
    if isinstance(program, Graph):
        return f"{len(program.nodes)} nodes, {len(program.tensors)} tensors"
    if isinstance(program, TileProgram):
        return f"{len(program.nests)} nests"
    return f"{program.count} instructions"
