"""CPU seconds of whole processes, from an interpreter that starts to its end, caches empty.

    python -m benchmarks.processes

`imports` is a process that does nothing but import NumPy and onnx: how fast the machine is, with
whatever else it does.
"""

import os
import resource
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks import resnets

ROOT = Path(__file__).parents[1]
RESNET8 = str(ROOT / "examples" / "resnet8" / "model.onnx")
ROUNDS = 3
BYTECODE = Path(tempfile.gettempdir()) / "dnncc-bytecode"
DNNCC, RUN = ("-m", "dnncc.cli"), ("-m", "dnncc.runtime.cli")


def main() -> None:
    for line in lines(Path(tempfile.gettempdir()) / "dnncc-networks", None):
        print(line, flush=True)


def lines(cache: Path, mobilenet: Path | None) -> Iterator[str]:
    """Of the commands, and of compiling ResNet-8, MobileNetV2 and ResNet-50 on two targets."""
    yield f"\n{'CPU s':>7}{'/ imports':>11}  process"
    with tempfile.TemporaryDirectory() as folder:
        out = str(Path(folder) / "a.elf")
        imports = seconds("-c", "import numpy, onnx")
        yield row("imports of NumPy and onnx", imports, imports)
        models = {"ResNet-8": RESNET8, "MobileNetV2": mobilenet and str(mobilenet)}
        models["ResNet-50"] = str(resnets.saved(cache, 50))
        for name, model in models.items():
            for target in ("eyeriss-like", "tpu-like") if model else ():
                given = ("--target", target, "--no-cache", "-q", "-o", out)
                yield row(f"dnncc {name} {target}", seconds(*DNNCC, str(model), *given), imports)
        seconds(*DNNCC, RESNET8, "--target", "tpu-like", "-q", "-o", out)
        yield row("dnncc-run ResNet-8 tpu-like", seconds(*RUN, out, "--random", "0"), imports)
        for option in ("--help", "--version"):
            yield row(f"dnncc {option}", seconds(*DNNCC, option), imports)


def row(name: str, cpu: float, imports: float) -> str:
    return f"{cpu:>7.2f}{cpu / imports:>11.2f}  {name}"


def seconds(*arguments: str) -> float:
    """The median of some rounds, after one that is not counted. Raises CalledProcessError."""
    once(arguments)
    return statistics.median(once(arguments) for _ in range(ROUNDS))


def once(arguments: tuple[str, ...]) -> float:
    """As installed: with Python's own cache of bytecode, wherever the package lies."""
    before = spent()
    environment = os.environ | {"DNNCC_CACHE": "off", "PYTHONPYCACHEPREFIX": str(BYTECODE)}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    command = [sys.executable, *arguments]
    subprocess.run(command, check=True, env=environment, capture_output=True)
    return spent() - before


def spent() -> float:
    """CPU seconds of all processes that have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    main()
