"""What each optimisation is worth: cycles, DRAM bytes and energy with it switched off.

    python -m benchmarks.ablation [--networks resnet8,...] [--targets tpu-like,...] [--passes P,...]

A line per optional pass (`dnncc --list-passes`), as a share of the run with all of them: 1.25 is a
quarter more without it. A pass that is worth nothing on any network can go. `-O0`, `-O1` and `-O3`
are the levels beside the default one.
"""

import argparse
import json
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.bounds import Case, cases

NETWORKS = "resnet8,ds_cnn,mobilenet_v1"
TARGETS = "eyeriss-like,tpu-like,gemmini-like,nvdla-like-full"
LEVELS = (0, 1, 3)


@dataclass(frozen=True, slots=True)
class Row:
    """What a compilation `without` something costs; "" is with everything. `host` counts the ONNX
    nodes that the host runs."""

    network: str
    target: str
    without: str
    cycles: int
    dram: int
    energy: float
    host: int


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser("benchmarks.ablation", description=(__doc__ or "").split("\n")[0])
    p.add_argument("--networks", default=NETWORKS, metavar="A,B", help="as benchmarks.bounds")
    p.add_argument("--targets", default=TARGETS, metavar="A,B", help="(%(default)s)")
    p.add_argument("--passes", metavar="A,B", help="default: all that are optional, and levels")
    p.add_argument("--json", action="store_true", help="print a JSON object per line")
    p.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir()) / "dnncc-networks")
    return p


def main() -> None:
    options = parser().parse_args()
    wanted = options.passes.split(",") if options.passes else [*optional(), *levels()]
    for case in cases(options.networks, options.targets.split(","), options.cache):
        rows = measured(case, wanted)
        whole = next(rows)
        if not options.json:
            print(heading(whole))
        for row in rows:
            print(json.dumps(asdict(row)) if options.json else line(row, whole), flush=True)


def optional() -> list[str]:
    """The names of the passes that can be left out."""
    from dnncc.passes.pipeline import PIPELINE

    return [step.name for step in PIPELINE if step.instead is not None]


def levels() -> list[str]:
    return [f"-O{level}" for level in LEVELS]


def measured(case: Case, without: list[str]) -> Iterator[Row]:
    """With everything, then without each."""
    yield measure(case, "", {})
    for name in without:
        level = name.removeprefix("-O")
        yield measure(case, name, {"disable": [name]} if level == name else {"level": int(level)})


def measure(case: Case, without: str, options: dict[str, Any]) -> Row:
    import dnncc
    from dnncc.runtime import InferenceSession

    image = dnncc.compile(case.path, case.target, **options).image
    report = InferenceSession(image).profile.report
    dram = report["dram_read_bytes"] + report["dram_written_bytes"]
    return Row(
        case.network, case.target, without, report["cycles"], dram, report["energy"]["total"],
        sum(len(part["nodes"]) for part in report["host_parts"]),
    )  # fmt: skip


def heading(whole: Row) -> str:
    return (
        f"\n{whole.network} on {whole.target}: {whole.cycles:,} cycles, {whole.dram:,} bytes of "
        f"DRAM, energy {whole.energy:.4g}\n{'without':20}{'cycles':>9}{'DRAM':>9}{'energy':>9}"
    )


def line(row: Row, whole: Row) -> str:
    shares = (row.cycles / whole.cycles, row.dram / whole.dram, row.energy / whole.energy)
    more = row.host - whole.host
    note = f"   {more} more ONNX nodes on the host" if more else ""
    return f"{row.without:20}" + "".join(f"{share:>9.3f}" for share in shares) + note


if __name__ == "__main__":
    main()
