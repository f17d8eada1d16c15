"""dnncc: compile an ONNX model to the binary of an accelerator."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # all else is imported when it is needed: --help has to be quick
    from .driver import Artifact

FAILED, BUG = 1, 70
LEVELS = ("elf", "asm", "tile", "graph", "dot")


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser("dnncc", description=(__doc__ or "").partition(": ")[2])
    p.add_argument("model", nargs="?", help="an ONNX model")
    p.add_argument("-o", "--output", metavar="FILE", help="default: MODEL.TARGET.elf; - is stdout")
    p.add_argument(
        "--target", default="eyeriss-like", help="a name, or the path of a TOML file (%(default)s)"
    )
    p.add_argument(
        "--shape",
        action="append",
        default=[],
        metavar="NAME=1x3x224x224",
        help="fix the shape of a dynamic input",
    )
    p.add_argument("--emit", choices=LEVELS, default="elf", help="what to write (%(default)s)")
    p.add_argument("--strict", action="store_true", help="refuse models that need the host")
    p.add_argument("--no-verify", action="store_true", help="do not check after every pass")
    p.add_argument("--list-targets", action="store_true", help="print the targets, and stop")
    p.add_argument("--list-passes", action="store_true", help="print the passes, and stop")
    p.add_argument("-q", "--quiet", action="store_true", help="print nothing but errors")
    p.add_argument("-v", "--verbose", action="store_true", help="print tracebacks of errors, too")
    p.add_argument("--version", action="store_true", help="print the version")
    return p


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit status."""
    options = parser().parse_args(arguments)
    try:
        return run(options)
    except Exception as error:
        return failed(error, options.verbose)


def run(options: argparse.Namespace) -> int:
    if options.version:
        from . import __version__

        print(f"dnncc {__version__}")
    elif options.list_targets:
        list_targets()
    elif options.list_passes:
        list_passes()
    elif options.model is None:
        parser().error("the ONNX model is missing")
    else:
        compile_file(options)
    return 0


def failed(error: Exception, verbose: bool) -> int:
    """One line on stderr: an error that the user can mend, or a bug of ours."""
    from dnncc.targets import TargetError

    from .diagnostics import CompileError

    if verbose:
        import traceback

        traceback.print_exc()
    if isinstance(error, OSError):
        print(f"error: {error.filename}: {error.strerror}", file=sys.stderr)
        return FAILED
    if isinstance(error, (CompileError, TargetError)):
        print(f"error: {error}", file=sys.stderr)
        return FAILED
    what = " ".join(f"{type(error).__name__}: {error}".split())
    print(f"internal error: {what}; -v shows where; please report it", file=sys.stderr)
    return BUG


def list_targets() -> None:
    from dnncc import targets

    for name in targets.names():
        print(f"{name:20} {targets.load(name).description}")


def list_passes() -> None:
    from .passes.pipeline import passes

    for name, truth in passes():
        print(f"{name:18} {truth}")


def shape_of(text: str) -> tuple[str, tuple[int, ...]]:
    """NAME=1x3x224x224. Raises CompileError."""
    from .diagnostics import CompileError

    name, _, sizes = text.rpartition("=")
    if not name or not all(s.isascii() and s.isdigit() and int(s) > 0 for s in sizes.split("x")):
        raise CompileError(f"--shape {text}: not a shape", hint="write NAME=1x3x224x224")
    return name, tuple(int(s) for s in sizes.split("x"))


def compile_file(options: argparse.Namespace) -> None:
    from . import compile

    artifact = compile(
        options.model,
        options.target,
        shapes=dict(map(shape_of, options.shape)),
        strict=options.strict,
        verify=not options.no_verify,
    )
    write(artifact, options)
    if not options.quiet:
        report(artifact)


def write(artifact: "Artifact", options: argparse.Namespace) -> None:
    """To a file, whole or not at all, or to stdout."""
    if options.emit == "elf" and options.output != "-":
        artifact.save(output_path(artifact, options))
        return
    data = content(artifact, options.emit)
    if options.output in (None, "-"):
        sys.stdout.buffer.write(data)
        return
    from dnncc.isa import elf

    elf.replace_file(Path(options.output), data)


def output_path(artifact: "Artifact", options: argparse.Namespace) -> Path:
    if options.output:
        return Path(options.output)
    return Path(f"{Path(options.model).stem}.{artifact.target.name}.elf")


def content(artifact: "Artifact", level: str) -> bytes:
    if level == "elf":
        from dnncc.isa import elf

        return elf.write(artifact.image)
    return text(artifact, level).encode()


def text(artifact: "Artifact", level: str) -> str:
    if level == "asm":
        return artifact.asm()
    if level == "tile":
        from .ir.tile_text import print_tile

        return print_tile(artifact.tile)
    from .ir.text import print_graph

    return print_graph(artifact.graph)


def report(artifact: "Artifact") -> None:
    """Notes, what the host has to do, and one line of sizes; all on stderr."""
    for note in artifact.notes:
        print(f"note: {note}", file=sys.stderr)
    for part in artifact.image.host:
        for _, reason in part.reasons:
            print(f"note: on the host: {reason}", file=sys.stderr)
    print(summary(artifact), file=sys.stderr)


def summary(artifact: "Artifact") -> str:
    image: Any = artifact.image
    share = f", {len(image.text) / len(image.rodata):.1%} of the weights" if image.rodata else ""
    return (
        f"{artifact.target.name}: {artifact.program.count} instructions, "
        f"{len(image.text)} bytes of code{share}; {len(image.rodata)} bytes of constants"
    )


if __name__ == "__main__":
    sys.exit(main())
