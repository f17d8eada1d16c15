"""One compilation, or a few runs, in this process alone: what they take of CPU and memory, as JSON.

    python -m benchmarks.once compile MODEL.onnx TARGET OUT.elf
    python -m benchmarks.once run OUT.elf BATCH

Memory is the largest resident set less that of the interpreter with its imports, in bytes.
"""

import json
import resource
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

WARM = 3


def main() -> None:
    kind, *arguments = sys.argv[1:]
    print(json.dumps(compiled(*arguments) if kind == "compile" else run(*arguments)))


def compiled(model: str, target: str, out: str) -> dict[str, Any]:
    from dnncc.driver import compile_model
    from dnncc.options import Options

    with_imports, start = resident("VmRSS"), time.process_time()
    artifact = compile_model(model, Options(target=target, cache=False))
    artifact.save(out)
    return {
        "seconds": time.process_time() - start,
        "bytes": resident("VmHWM") - with_imports,
        "instructions": artifact.program.count,
    }


def run(binary: str, batch: str) -> dict[str, Any]:
    import numpy as np

    from dnncc.runtime import files, load

    with_imports = resident("VmRSS")
    session = load(binary)
    one = files.random_inputs(session.get_inputs(), 0)
    feeds = {name: np.concatenate([value] * int(batch)) for name, value in one.items()}
    first = cpu_seconds(lambda: session.run(None, feeds))
    warm = [cpu_seconds(lambda: session.run(None, feeds)) for _ in range(WARM)]
    timing = cpu_seconds(lambda: session.profile)
    return {
        "first": first,
        "seconds": statistics.median(warm),
        "timing": timing,
        "bytes": resident("VmHWM") - with_imports,
    }


def cpu_seconds(work: Callable[[], Any]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def resident(kind: str) -> int:
    """VmRSS, what this process holds, or VmHWM, the most that it ever held; bytes.

    What getrusage says begins with what the parent process held.
    """
    status = Path("/proc/self/status")
    if not status.is_file():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    line = next(row for row in status.read_text().splitlines() if row.startswith(kind))
    return int(line.split()[1]) << 10


if __name__ == "__main__":
    main()
