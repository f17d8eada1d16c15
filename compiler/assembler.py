"""dnncc-as: assembly text to a binary, for a target."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from dnncc.isa.command import finish


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        prog="dnncc-as",
        description="Assemble a program. Takes back what dnncc-objdump -d prints.",
    )
    made.add_argument("file", metavar="FILE", type=Path, help="assembly text")
    made.add_argument("-o", "--output", metavar="FILE", type=Path, required=True)
    made.add_argument(
        "--target", metavar="NAME|FILE", help="target, unless the text has .target lines"
    )
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    return finish(
        lambda: run(options.file, options.output, options.target),
        lambda error: told(error, options.file),
    )


def told(error: Exception, file: Path) -> list[str]:
    from dnncc.isa import asm, core
    from dnncc.targets import TargetError

    if isinstance(error, asm.AssemblyError):
        line = f":{error.line}" if error.line else ""
        return [f"{file}{line}: {error.message}"]
    if isinstance(error, (core.IsaError, UnicodeDecodeError)):
        return [f"{file}: {error}"]
    return [str(error)] if isinstance(error, TargetError) else []


def run(source: Path, output: Path, target: str | None) -> None:
    """Raises AssemblyError, IsaError, TargetError or OSError; then there is no new output."""
    from dnncc.isa import asm, elf, program
    from dnncc.targets import load, loads

    text = None if target is None else load(target).dumps()
    image = asm.assemble_image(source.read_text(encoding="utf-8"), text)
    memories = loads(image.target).memories
    sizes = [image.dram_bytes, *(memory.bytes for memory in memories)]
    program.check_bounds(program.Program.decode(image.text), sizes)
    elf.save(image, output)


if __name__ == "__main__":
    sys.exit(main())
