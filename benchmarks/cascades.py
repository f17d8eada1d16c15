"""What depth-first cascades of layers are worth, for each thing that mappings can be best for.

    python -m benchmarks.cascades [--networks mobilenet_v2,...] [--targets eyeriss-like,...]

For latency they are sought from -O3 on, for other goals at every level that has them. A line has
DRAM bytes, cycles and energy of a network layer by layer (`--disable-pass cascade`), and
what they are with cascades, as a share of it: 0.70 is 30 % fewer. Targets whose array cannot read
results where they are written have no cascades.
"""

import argparse
import tempfile
from pathlib import Path

from benchmarks.ablation import Row, measure
from benchmarks.bounds import Case, cases

GOALS = ("latency", "edp", "energy")


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser("benchmarks.cascades", description=(__doc__ or "").split("\n")[0])
    p.add_argument("--networks", default="mobilenet_v2", metavar="A,B", help="as benchmarks.bounds")
    p.add_argument("--targets", default="eyeriss-like,shidiannao-like", metavar="A,B")
    p.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir()) / "dnncc-networks")
    return p


def main() -> None:
    options = parser().parse_args()
    print(HEAD)
    for case in cases(options.networks, options.targets.split(","), options.cache):
        for goal in GOALS:
            print(line(goal, *measured(case, goal)), flush=True)


def measured(case: Case, goal: str) -> tuple[Row, Row]:
    """Layer by layer, and with cascades."""
    asked = {"opt_for": goal, "cache": False, "level": 3 if goal == "latency" else 2}
    return measure(case, "cascade", asked | {"disable": ["cascade"]}), measure(case, "", asked)


HEAD = (
    f"{'network':14}{'target':17}{'--opt-for':11}{'DRAM B':>12}{'with':>8}{'cycles':>13}{'with':>8}"
    f"{'energy':>11}{'with':>8}"
)


def line(goal: str, layered: Row, fused: Row) -> str:
    shares = [
        f"{getattr(fused, of) / getattr(layered, of):>8.3f}" for of in ("dram", "cycles", "energy")
    ]
    return (
        f"{layered.network:14}{layered.target:17}{goal:11}{layered.dram:>12,}{shares[0]}"
        f"{layered.cycles:>13,}{shares[1]}{layered.energy:>11.3e}{shares[2]}"
    )


if __name__ == "__main__":
    main()
