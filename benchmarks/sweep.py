"""Every model of a folder on every target: nothing may be found wrong, and nothing may fail.

    python -m benchmarks.sweep --models DIR                      # all shipped targets
    python -m benchmarks.sweep --models DIR --targets tpu-like,diannao-like --check-each-pass

A line per model and target, in CPU seconds: `ok`; `refused`, with the compiler's named reason;
`bounded`, where `--seconds` did not suffice; or `FOUND` and what. Each binary is proved by what
dnncc-verify proves, run under the sanitizer in program order and in a random legal one, run in
groups, and assembled again from its assembly text to the same bytes. `--check-each-pass` also runs
the program after every pass. Exit status 1 if anything was found.

Models are DIR/NAME/model.onnx or DIR/NAME.onnx. Float ones are quantised once per precision, kept
in `--cache`. DIR/NAME/io_ort.npz, if there is one, has inputs as `in:NAME`: they fix shapes and
calibrate; else samples are made up.
"""

import argparse
import hashlib
import os
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

OK, REFUSED, BOUNDED, FOUND = "ok", "refused", "bounded", "FOUND"
SCHEDULE = "random:1"
SHOWN = 3
"""Findings of a cell that are printed."""


class Cell(NamedTuple):
    """One model on one target: what came of it, and after how many CPU seconds."""

    model: str
    target: str
    outcome: str
    text: str
    seconds: float


class TimeUp(BaseException):
    """Not an Exception: whoever looks on while passes run must not take it for a fault."""


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser("benchmarks.sweep", description="Every model on every target.")
    add = p.add_argument
    add("--models", type=Path, default=Path(os.environ.get("DNNCC_MODELS", "tests/models")),
        metavar="DIR", help="default: $DNNCC_MODELS, else tests/models")  # fmt: skip
    add("--only", metavar="A,B,C", default="", help="of these models")
    add("--targets", metavar="A,B,C", default="", help="names or TOML files (all that are shipped)")
    add("--check-each-pass", action="store_true", help="run the program after every pass, too")
    add("--seconds", type=float, default=0.0, help="of CPU for a cell, then it is bounded")
    add("--cache", type=Path, default=Path(tempfile.gettempdir()) / "dnncc-networks")
    return p


def main() -> int:
    from dnncc import targets

    options = parser().parse_args()
    names = listed(options.targets) or targets.names()
    counts = Counter[str]()
    for name, path in models(options.models, listed(options.only)):
        for target in names:
            cell = swept(name, path, target, options)
            counts[cell.outcome] += 1
            print(line(cell), flush=True)
    told = ", ".join(f"{counts[what]} {what}" for what in (OK, REFUSED, BOUNDED, FOUND))
    print(f"{counts.total()} cells: {told}")
    return 1 if counts[FOUND] or not counts else 0


def listed(text: str) -> list[str]:
    return [name for name in text.split(",") if name]


def models(folder: Path, only: list[str]) -> Iterator[tuple[str, Path]]:
    found = {path.parent.name: path for path in folder.glob("*/model.onnx")}
    found |= {path.stem: path for path in folder.glob("*.onnx")}
    yield from ((name, found[name]) for name in sorted(found) if not only or name in only)


def swept(name: str, path: Path, target: str, options: argparse.Namespace) -> Cell:
    from dnncc.diagnostics import CompileError
    from dnncc.targets import TargetError

    start = time.process_time()
    try:
        with limited(options.seconds):
            quantised = quantised_once(path, target, options.cache)
            found = list(findings(quantised, target, options.check_each_pass))
        outcome, text = FOUND if found else OK, "; ".join(found[:SHOWN])
    except TimeUp:
        outcome, text = BOUNDED, f"more than {options.seconds:g} s of CPU"
    except (CompileError, TargetError) as error:
        outcome, text = REFUSED, str(error)
    except Exception as error:  # whatever it is, it is a finding
        outcome, text = FOUND, " ".join(f"{type(error).__name__}: {error}".split())
    return Cell(name, target, outcome, text, time.process_time() - start)


@contextmanager
def limited(seconds: float) -> Iterator[None]:
    """Raises TimeUp after so many seconds of CPU; 0 is no limit."""

    def stop(*_: object) -> None:
        raise TimeUp

    before = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0.0)
        signal.signal(signal.SIGPROF, before)


def quantised_once(path: Path, target: str, cache: Path) -> Path:
    """The model that the target's integers compute, of static shape. Raises CompileError."""
    from dnncc import targets
    from dnncc.diagnostics import Remarks
    from dnncc.driver import quantised_model
    from dnncc.frontend.floats import Wish, precision_of
    from dnncc.isa import elf
    from dnncc.options import Options

    precision = precision_of(Wish(), targets.load(target))
    content = hashlib.sha256(path.read_bytes()).hexdigest()[:16]
    kept = cache / f"{path.parent.name}-{content}.{precision}.onnx"
    if not kept.is_file():
        data = samples(path)
        shapes = {name: value.shape for name, value in data.items()}
        asked = Options(shapes=shapes, calibrate=data or None, precision=precision)
        made = quantised_model(str(path), asked, Remarks())
        cache.mkdir(parents=True, exist_ok=True)
        elf.replace_file(kept, made.SerializeToString(deterministic=True))
    return kept


def samples(path: Path) -> dict[str, Any]:
    """The inputs that lie beside a model."""
    import numpy as np

    beside = path.with_name("io_ort.npz")
    if not beside.is_file():
        return {}
    with np.load(beside, allow_pickle=False) as arrays:
        return {k.removeprefix("in:"): arrays[k] for k in arrays.files if k.startswith("in:")}


def findings(path: Path, target: str, each_pass: bool) -> Iterator[str]:
    """All that is wrong with the binary; what is wrong with a pass is raised."""
    from dnncc import targets
    from dnncc.check import watchers
    from dnncc.driver import compile_model
    from dnncc.isa import elf
    from dnncc.options import Options
    from dnncc.runtime import load

    watching = watchers("random:0", targets.load(target)) if each_pass else ()
    asked = Options(target=target, precision="float")  # as it is: what is quantised stays so
    artifact = compile_model(str(path), asked, watching)
    data = elf.write(artifact.image)
    session = load(data)
    yield from map(str, session.findings)
    yield from reassembled(artifact.asm(), data)
    if not session.findings:
        yield from runs(session)


def reassembled(text: str, data: bytes) -> Iterator[str]:
    from dnncc.isa import asm, elf

    if elf.write(asm.assemble_image(text)) != data:
        yield "assembly: its text does not assemble to the same bytes"


def runs(session: Any) -> Iterator[str]:
    """Outputs are the same in every order; the sanitizer raises what it finds."""
    from dnncc.runtime import files

    feeds = files.random_inputs(session.get_inputs(), 0)
    serial = session.run(None, feeds, sanitize=True)
    others: dict[str, Callable[[], Any]] = {
        f"--schedule {SCHEDULE}": lambda: session.run(None, feeds, SCHEDULE, sanitize=True),
        "grouped execution": lambda: session.run(None, feeds, grouped=True),
    }
    for what, run in others.items():
        if any(a.tobytes() != b.tobytes() for a, b in zip(serial, run(), strict=True)):
            yield f"{what}: other values than in program order"


def line(cell: Cell) -> str:
    left = f"{cell.model:32} {cell.target:18} {cell.outcome:8} {cell.seconds:7.1f} s"
    return f"{left}  {cell.text}".rstrip()


if __name__ == "__main__":
    sys.exit(main())
