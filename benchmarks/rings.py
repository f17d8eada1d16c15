"""What rings of rows are worth: cycles, DRAM bytes and energy without them, as shares.

    python -m benchmarks.rings [--networks vgg19,...] [--targets nvdla-like-small,...] [--goal G]

A line per network and target: how many nests keep rows of their ifmap in a ring, and what the same
network takes if these are not allowed to (`ring = []` in their mappings): 1.25 is a quarter more.
"""

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.bounds import Case, cases

NETWORKS = "vgg19,mobilenet_v2,squeezenet"
TARGETS = "eyeriss-like,shidiannao-like,nvdla-like-small,gemmini-like,diannao-like,tpu-like"
HEADING = f"{'network':14}{'target':18}{'rings':>6}{'cycles':>9}{'DRAM':>9}{'energy':>9}"


class Cost(NamedTuple):
    """Of one inference."""

    cycles: int
    dram: int
    energy: float


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser("benchmarks.rings", description=(__doc__ or "").split("\n")[0])
    p.add_argument("--networks", default=NETWORKS, metavar="A,B", help="as benchmarks.bounds")
    p.add_argument("--targets", default=TARGETS, metavar="A,B", help="(%(default)s)")
    p.add_argument("--goal", default="latency", choices=("latency", "energy", "edp"))
    p.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir()) / "dnncc-networks")
    return p


def main() -> None:
    options = parser().parse_args()
    print(HEADING)
    for case in cases(options.networks, options.targets.split(","), options.cache):
        print(line(case, options.goal), flush=True)


def line(case: Case, goal: str) -> str:
    import dnncc

    artifact = dnncc.compile(case.path, case.target, opt_for=goal)
    without = {node: table for group in artifact.graph.nodes for node, table in barred(group)}
    plain = dnncc.compile(case.path, case.target, opt_for=goal, mapping=without)
    pairs = zip(cost(plain), cost(artifact), strict=True)
    shares = "".join(f"{other / own:>9.3f}" for other, own in pairs)
    return f"{case.network:14}{case.target:18}{len(without):>6}{shares}"


def barred(group: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    """What to give of the mapping of a node that has a ring, so that it has none."""
    from dnncc.mapping.lowering import count_attached

    if group.attrs.get("mapping", {}).get("ring"):
        attached = count_attached(group.body)
        yield group.loc[0], {"ring": []} | ({"attached": attached} if attached > 1 else {})


def cost(artifact: Any) -> Cost:
    from dnncc.runtime import InferenceSession

    report = InferenceSession(artifact.image).profile.report
    dram = report["dram_read_bytes"] + report["dram_written_bytes"]
    return Cost(report["cycles"], dram, report["energy"]["total"])


if __name__ == "__main__":
    main()
