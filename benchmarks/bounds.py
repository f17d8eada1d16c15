"""How near to its bound a network runs, on every target that it is asked of.

    python -m benchmarks.bounds [--networks resnet50,...] [--targets tpu-like,...] [--jobs N]

The bound is the larger of two sums over the layers: the fewest cycles of the array, were memory
free, and the bytes that must cross DRAM (constants, the model's inputs and outputs) over its rate.
"layered" is the same with every feature map that no scratchpad holds written once and read once,
which layers that run one after the other cannot avoid; "in turn" the sum of what each of them then
takes alone. The bar is what cycles / bound should reach.
Weights are seeded (networks.py) or those of the models in $DNNCC_MODELS.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from benchmarks import convolutions, networks
from benchmarks.speed import found

ALL = (
    *("eyeriss-like", "tpu-like", "gemmini-like", "gemmini-like-os"),
    *("shidiannao-like", "diannao-like", "nvdla-like-small", "nvdla-like-full"),
)


@dataclass(frozen=True, slots=True)
class Network:
    """`source`: "light" of the onnx package, "real" in $DNNCC_MODELS, or "made" on the spot."""

    name: str
    source: str
    model: str
    targets: tuple[str, ...]
    bar: float


NETWORKS = (
    Network("resnet50", "light", "resnet50", ("tpu-like", "gemmini-like", "nvdla-like-full"), 1.10),
    Network("mobilenet_v2", "real", "coral_mobilenet_v2_224_int8", ALL, 1.20),
    Network("shufflenet", "light", "shufflenet", ALL, 1.20),
    Network("squeezenet", "light", "squeezenet", ALL, 1.20),
    Network("alexnet", "made", "alexnet", ("eyeriss-like",), 1.15),
    Network("vgg19", "made", "vgg19", ("eyeriss-like",), 1.15),
    Network("resnet8", "real", "mlperf_tiny_ic_resnet8_int8", ALL, 1.30),
    Network("ds_cnn", "real", "mlperf_tiny_kws_dscnn_int8", ALL, 1.30),
    Network("mobilenet_v1", "real", "coral_mobilenet_v1_025_128_int8", ALL, 1.30),
)


@dataclass(frozen=True, slots=True)
class Case:
    """A model's file on a target."""

    network: str
    path: str
    target: str
    bar: float


@dataclass(frozen=True, slots=True)
class Row:
    """Cycles and bytes of one run; `array`, `vector` and `links` are what bounds are made of."""

    network: str
    target: str
    cycles: int
    bound: int
    layered: int
    turn: int
    bar: float
    dram: int
    compulsory: int
    layered_dram: int
    array: int
    vector: int
    links: int
    seconds: float


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser("benchmarks.bounds", description=(__doc__ or "").split("\n")[0])
    names = ", ".join(n.name for n in NETWORKS)
    p.add_argument("--networks", metavar="A,B", help=f"of {names}; or ONNX files")
    p.add_argument("--targets", metavar="A,B", help="instead of those that each network is for")
    p.add_argument("--jobs", type=int, default=1, metavar="N", help="processes (%(default)s)")
    p.add_argument("--option", action="append", default=[], metavar="level=3", help="of Options")
    p.add_argument("--json", action="store_true", help="print a JSON object per line")
    p.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir()) / "dnncc-networks")
    return p


def main() -> None:
    options = parser().parse_args()
    wanted = options.targets.split(",") if options.targets else None
    work = list(cases(options.networks, wanted, options.cache))
    if not options.json:
        print(HEAD)
    for row in measured(work, options.jobs, dict(o.split("=", 1) for o in options.option)):
        print(json.dumps(asdict(row)) if options.json else line(row), flush=True)


def cases(names: str | None, targets: list[str] | None, cache: Path) -> Iterator[Case]:
    """What is asked for, as far as its models are there."""
    known = {n.name: n for n in NETWORKS}
    for name in names.split(",") if names else known:
        network = known.get(name, Network(Path(name).stem, "file", name, ALL, 1.0))
        path = place(network, cache)
        if path is None:
            print(f"{name}: {network.model} is not in $DNNCC_MODELS", file=sys.stderr)
            continue
        for target in targets or network.targets:
            yield Case(network.name, str(path), target, network.bar)


def place(network: Network, cache: Path) -> Path | None:
    """The file of its int8 model, which is made if it can be."""
    if network.source == "light":
        return networks.light(network.model, cache)[1]
    if network.source == "made":
        return convolutions.saved(network.model, cache)
    return Path(network.model) if network.source == "file" else found(network.model)


def measured(work: list[Case], jobs: int, options: dict[str, str]) -> Iterator[Row]:
    if jobs <= 1:
        yield from (measure(case, options) for case in work)
        return
    with ProcessPoolExecutor(jobs, get_context("spawn")) as pool:
        yield from pool.map(measure, work, [options] * len(work))


def measure(case: Case, options: dict[str, str]) -> Row:
    """Compile, play the program's timing, and set it beside the bound."""
    import dnncc
    from dnncc.mapping.bound import floors
    from dnncc.runtime import InferenceSession
    from dnncc.targets.floor import bound, link_cycles, total

    start = time.process_time()
    artifact = dnncc.compile(case.path, case.target, cache=False, **values(options))
    seconds = time.process_time() - start
    report = InferenceSession(artifact.image).profile.report
    target, rows = artifact.target, floors(artifact.graph, artifact.target)
    whole = total(rows)
    return Row(
        case.network,
        case.target,
        report["cycles"],
        bound(target, rows),
        bound(target, rows, spilling=True),
        sum(bound(target, [row], spilling=True) for row in rows),
        case.bar,
        report["dram_read_bytes"] + report["dram_written_bytes"],
        sum(whole.moved),
        sum(whole.moved) + sum(whole.spilled),
        whole.array,
        whole.vector,
        max(link_cycles(target, whole.moved), default=0),
        seconds,
    )


def values(options: dict[str, str]) -> dict[str, Any]:
    """Numbers as numbers."""
    return {k: int(v) if v.isdigit() else v for k, v in options.items()}


HEAD = (
    f"{'network':14}{'target':17}{'cycles':>12}{'bound':>12}{'ratio':>7}{'bar':>6}  "
    f"{'layered':>12}{'ratio':>7}{'in turn':>12}{'ratio':>7}"
    f"{'DRAM B':>12}{'compulsory':>12}{'ratio':>7}{'layered':>12}"
    f"{'array':>12}{'vector':>11}{'links':>11}{'CPU s':>7}"
)


def line(row: Row) -> str:
    ratio = row.cycles / row.bound
    mark = " " if ratio <= row.bar else "!"
    return (
        f"{row.network:14}{row.target:17}{row.cycles:>12}{row.bound:>12}{ratio:>7.3f}"
        f"{row.bar:>6.2f}{mark} {row.layered:>12}{row.cycles / row.layered:>7.3f}"
        f"{row.turn:>12}{row.cycles / row.turn:>7.3f}"
        f"{row.dram:>12}{row.compulsory:>12}{row.dram / row.compulsory:>7.2f}{row.layered_dram:>12}"
        f"{row.array:>12}{row.vector:>11}{row.links:>11}{row.seconds:>7.1f}"
    )


if __name__ == "__main__":
    main()
