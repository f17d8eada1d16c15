"""How fast the simulator is: beside onnxruntime, and beside its own arithmetic in plain NumPy.

    python -m benchmarks.speed                              # the figures of docs/speed.md
    python -m benchmarks.speed --only resnet8 --target gemmini-like --rounds 9

Each row is a network on a target, values and cycles, as CPU milliseconds of a warm run: medians of
rounds in which all that is compared runs once, so that whatever else the machine does hits all
alike. `ort f32` and `ort int8` are onnxruntime's default sessions with the same threads, `numpy`
all convolutions and matrix products as im2col and float32 matmul in this process. Once or by choice
are: `plain`, a run instruction by instruction; `first`, one that finds out what can be grouped and
converts the weights; `cycles`, timing the program.
Whole processes (processes.py) and how costs grow (growth.py) follow, unless --only is given.
Models are sought in $DNNCC_MODELS and tests/models; ResNet-50 is made on the spot (networks.py).
"""

import argparse
import importlib
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[1]
TARGETS = ("tpu-like", "eyeriss-like")
EVERYWHERE = "mobilenet_v2"
"""The network that is run on all targets."""

MOST_ONE_BY_ONE = 100_000
"""Instructions of a program for which `plain` is measured."""
MOBILENET = "coral_mobilenet_v2_224_int8"
BLAS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")


class Case(NamedTuple):
    """A network; its float model is None where there is none."""

    name: str
    real: Path | None
    int8: Path
    batch: int


class Row(NamedTuple):
    """Medians, in CPU seconds."""

    case: str
    target: str
    batch: int
    instructions: int
    first: float
    plain: float | None
    timing: float
    medians: dict[str, float]


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser("benchmarks.speed", description="How fast the simulator is.")
    p.add_argument("--only", action="append", metavar="NAME", help="resnet50, mobilenet_v2, ...")
    p.add_argument("--target", action="append", help="default: tpu-like, eyeriss-like")
    p.add_argument("--rounds", type=int, default=7, metavar="N", help="warm runs (%(default)s)")
    p.add_argument("--threads", type=int, default=1, metavar="N", help="of each (%(default)s)")
    p.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir()) / "dnncc-networks")
    return p


def main() -> None:
    options = parser().parse_args()
    for name in BLAS:
        os.environ[name] = str(options.threads)
    print(heading())
    for case in cases(options.cache):
        if options.only and case.name not in options.only:
            continue
        for target in options.target or targets_of(case):
            print(line(measure(case, target, options.rounds, options.threads)), flush=True)
    if not options.only:
        for text in processes_and_growth(options.cache):
            print(text, flush=True)


def processes_and_growth(cache: Path) -> Iterator[str]:
    from benchmarks import growth, processes

    yield from processes.lines(cache, found(MOBILENET))
    yield from growth.lines(TARGETS[0], cache)


def targets_of(case: Case) -> Sequence[str]:
    """All that int8 sums fit, or two."""
    from dnncc import targets

    if case.name != EVERYWHERE:
        return TARGETS
    return [n for n in targets.names() if targets.load(n).datapath.accumulator_bits >= 32]


def cases(cache: Path) -> Iterator[Case]:
    from benchmarks import networks

    yield Case("resnet50", *networks.light("resnet50", cache), 1)
    for name, model, batch in (
        ("mobilenet_v2", MOBILENET, 1),
        ("resnet8", "mlperf_tiny_ic_resnet8_int8", 1),
        ("resnet8", "mlperf_tiny_ic_resnet8_int8", 64),
    ):
        path = found(model)
        if path is None:
            print(f"{name}: {model} is not in $DNNCC_MODELS", file=sys.stderr)
        else:
            yield Case(name, None, path, batch)


def found(model: str) -> Path | None:
    folders = (
        os.environ.get("DNNCC_MODELS", ""),
        ROOT / "tests/models",
        ROOT.parent / "shared/models",
    )
    paths = [Path(folder) / model / "model.onnx" for folder in folders]
    return next((path for path in paths if path.is_file()), None)


def measure(case: Case, target: str, rounds: int, threads: int) -> Row:
    import onnx

    import dnncc
    from benchmarks import products
    from dnncc.runtime import InferenceSession, files
    from dnncc.runtime.timing import simulate

    session = InferenceSession(dnncc.compile(case.int8, target).image)
    feeds = repeated(files.random_inputs(session.get_inputs(), 0), case.batch)
    kernels = products.products(onnx.load(case.real or case.int8), case.batch)
    work: dict[str, Callable[[], Any]] = {
        "dnncc": lambda: session.run(None, feeds, grouped=True, threads=threads),
        "numpy": lambda: [kernel.run() for kernel in kernels],
    }
    if case.real:
        work["ort f32"] = onnxruntime_run(case.real, feeds, threads)
    work["ort int8"] = onnxruntime_run(case.int8, feeds, threads)
    timing = cpu_seconds(lambda: simulate(session.program, session.target))
    plain = None
    if session.program.count <= MOST_ONE_BY_ONE:
        plain = cpu_seconds(lambda: session.run(None, feeds, grouped=False, threads=threads))
    first = cpu_seconds(work["dnncc"])
    return Row(
        case.name, target, case.batch, session.program.count, first, plain, timing,
        interleaved(work, rounds),
    )  # fmt: skip


def repeated(feeds: dict[str, Any], batch: int) -> dict[str, Any]:
    import numpy as np

    return {name: np.concatenate([value] * batch) for name, value in feeds.items()}


def onnxruntime_run(path: Path, feeds: dict[str, Any], threads: int) -> Callable[[], Any]:
    """Its default session on one batch, whatever batch the model was exported with."""
    import onnx

    onnxruntime: Any = importlib.import_module("onnxruntime")
    model = onnx.load(path)
    del model.graph.value_info[:]
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "batch"
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = threads, 3
    providers = ["CPUExecutionProvider"]
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers)
    given = {v.name: feeds.get(v.name, next(iter(feeds.values()))) for v in session.get_inputs()}
    return lambda: session.run(None, given)


def interleaved(work: dict[str, Callable[[], Any]], rounds: int) -> dict[str, float]:
    for run in work.values():
        run()
    times = [{name: cpu_seconds(run) for name, run in work.items()} for _ in range(max(rounds, 1))]
    return {name: statistics.median(t[name] for t in times) for name in work}


def cpu_seconds(run: Callable[[], Any]) -> float:
    start = time.process_time()
    run()
    return time.process_time() - start


def heading() -> str:
    columns = ("dnncc", "numpy", "ort f32", "ort int8")
    ms = "".join(f"{name:>10}" for name in columns)
    ratios = "".join(f"{'/ ' + name:>12}" for name in columns[1:])
    left = f"{'network':14}{'target':18}{'batch':>6}{'instr':>8}"
    return f"{left}{ms}{ratios}{'plain':>9}{'first':>8}{'cycles':>8}"


def line(row: Row) -> str:
    """Milliseconds, what ours are of the others', and those that are paid once or by choice."""
    ours = row.medians["dnncc"]
    names = ("dnncc", "numpy", "ort f32", "ort int8")
    ms = "".join(shown(row.medians.get(name), 1e3, 10) for name in names)
    ratios = "".join(
        shown(ours / row.medians[name] if name in row.medians else None, 1, 12)
        for name in names[1:]
    )
    once = "".join(
        f"{'-':>{width}}" if value is None else f"{1e3 * value:>{width}.0f}"
        for value, width in ((row.plain, 9), (row.first, 8), (row.timing, 8))
    )
    return f"{row.case:14}{row.target:18}{row.batch:>6}{row.instructions:>8}{ms}{ratios}{once}"


def shown(value: float | None, unit: float, width: int) -> str:
    return f"{'-':>{width}}" if value is None else f"{value * unit:>{width}.2f}"


if __name__ == "__main__":
    main()
