"""Compile a host part, try it, and write the library, in a process of its own.

A crash or a hang of TVM's on a strange model is then a reason, not the end of the run.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import onnx
from msgspec import Struct

from . import relax
from .trial import disagreement

SECONDS = 600
MODEL, LIBRARY, VERDICT = "model.onnx", "part.so", "verdict.json"
STOPPED = {-signal.SIGKILL, -signal.SIGTERM, -signal.SIGINT}


class Build(Struct, frozen=True):
    """A library's bytes or why there are none, and whether another try would end the same way."""

    library: bytes | None
    why: str
    final: bool = True


def build(model: bytes, place: Path) -> Build:
    """Build in a folder inside `place`, which is gone afterwards."""
    with tempfile.TemporaryDirectory(dir=place) as inside:
        folder = Path(inside)
        (folder / MODEL).write_bytes(model)
        command = [sys.executable, "-P", "-m", __name__, str(folder)]
        try:
            status = subprocess.run(command, capture_output=True, timeout=SECONDS).returncode
        except subprocess.TimeoutExpired:
            return Build(None, f"TVM took more than {SECONDS} s")
        return outcome(folder, status)


def outcome(folder: Path, status: int) -> Build:
    if not (folder / VERDICT).exists():
        return Build(None, f"compiling with TVM ended with status {status}", status not in STOPPED)
    why = json.loads((folder / VERDICT).read_text())["why"]
    return Build(None, why) if why else Build((folder / LIBRARY).read_bytes(), "")


def verdict(folder: Path) -> str:
    """Why the model in the folder has no library; "" if it has one now."""
    model = onnx.load_model_from_string((folder / MODEL).read_bytes())
    why, code = attempt(model)
    if why:
        return why
    try:
        code.export_library(str(folder / LIBRARY))
    except Exception as error:  # of the C compiler's
        return f"its library cannot be linked: {one_line(error)}"
    return ""


def attempt(model: onnx.ModelProto) -> tuple[str, Any]:
    """Why TVM does not do for the model, or "" and what it compiled."""
    try:
        code = relax.executable(model)
        run = relax.evaluate(code, *signature(model))
        wrong = disagreement(model, run)
    except Exception as error:  # TVM refuses a model in as many ways as there are exceptions
        return f"TVM cannot compile it: {one_line(error)}", None
    return (f"TVM is wrong: {wrong}" if wrong else ""), code


def signature(model: onnx.ModelProto) -> tuple[list[str], list[str]]:
    held = {t.name for t in model.graph.initializer}
    inputs = [v.name for v in model.graph.input if v.name not in held]
    return inputs, [v.name for v in model.graph.output]


def one_line(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[-200:]


def main() -> None:
    folder = Path(sys.argv[1])
    found = json.dumps({"why": verdict(folder)})
    (folder / "written").write_text(found)
    os.replace(folder / "written", folder / VERDICT)


if __name__ == "__main__":
    main()
