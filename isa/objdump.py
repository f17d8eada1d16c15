"""dnncc-objdump: what a binary holds, as text that dnncc-as takes back, or as JSON."""

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .command import finish

if TYPE_CHECKING:
    from .image import Image
    from .program import Program


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        prog="dnncc-objdump", description="Show what a dnncc binary holds.", add_help=False
    )
    made.add_argument("file", metavar="FILE", type=Path)
    add = made.add_argument
    add("-d", "--disassemble", action="store_true", help="all of it as assembly for dnncc-as")
    add("-h", "--section-headers", action="store_true", help="sections")
    add("-t", "--syms", action="store_true", help="symbols: the model's tensors")
    add("--json", action="store_true", help="sections, symbols and instructions as JSON")
    add("--help", action="help", help="show this and exit")
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    made = parser()
    options = made.parse_args(arguments)
    if not (options.disassemble or options.section_headers or options.syms or options.json):
        made.error("say what to show: -d, -h, -t or --json")
    return finish(lambda: show(options), lambda error: told(error, options.file))


def told(error: Exception, file: Path) -> list[str]:
    from .core import IsaError

    return [f"{file}: {error}"] if isinstance(error, IsaError) else []


def show(options: argparse.Namespace) -> None:
    from . import asm, elf
    from .program import Program

    data = options.file.read_bytes()
    image = elf.read(data)
    program = Program.decode(image.text) if options.disassemble or options.json else None
    if options.json and program:
        print(asm.json(described(image, program, elf.places(data))))
        return
    if options.section_headers:
        print(section_table(elf.places(data)))
    if options.syms:
        print(symbol_table(image))
    if options.disassemble and program:
        print(asm.disassemble(program, image), end="")


def section_table(places: Sequence[Any]) -> str:
    rows = [f"{'section':<16}{'offset':>12}{'bytes':>14}"]
    rows += [f"{p.name:<16}{p.offset:>#12x}{p.size:>14}" for p in places]
    return "\n".join(rows)


def symbol_table(image: "Image") -> str:
    rows = [f"{'kind':<8}{'place':>14}{'bytes':>12}  {'type':<24}name"]
    for s in image.symbols:
        place = f"{s.memory}:{s.address:#x}"
        kind = f"{s.dtype}{list(s.shape)}" + " real" * s.real
        rows.append(f"{s.kind:<8}{place:>14}{s.bytes:>12}  {kind:<24}{s.name}")
        if s.head:
            first = s.first()
            place, kind = (
                f"{s.head.memory}:{s.head.address:#x}",
                f"{first.dtype}{list(first.shape)}",
            )
            rows.append(f"{'head':<8}{place:>14}{first.bytes:>12}  {kind:<24}{s.name}")
    return "\n".join(rows)


def described(image: "Image", program: "Program", places: Sequence[Any]) -> dict[str, Any]:
    from .image import ISA_VERSION

    return {
        "isa": ISA_VERSION,
        "tool": image.tool,
        "options": image.options,
        "dram_bytes": image.dram_bytes,
        "target": image.target,
        "sections": [p._asdict() for p in places],
        "symbols": image.symbols,
        "instructions": list(instructions(image, program)),
    }


def instructions(image: "Image", program: "Program") -> Iterator[dict[str, Any]]:
    """Offset, mnemonic, ONNX node, tile step and all fields as numbers."""
    debug = image.debug
    for index in range(program.count):
        one = program.instruction(index)
        row = {"offset": int(program.offsets[index]), "mnemonic": one.mnemonic}
        node = debug.node_of[index] if debug else -1
        step = debug.step_of[index] if debug else -1
        row["node"] = debug.nodes[node] if debug and node >= 0 else None
        row["step"] = debug.steps[step] if debug and step >= 0 else None
        yield row | {"fields": {name: getattr(one, name) for name in one.field_names()}}


if __name__ == "__main__":
    sys.exit(main())
