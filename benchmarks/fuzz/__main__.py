"""Random quantised networks, simulated and in onnxruntime: every element has to be the same.

    python -m benchmarks.fuzz --count 300 --target eyeriss-like
    python -m benchmarks.fuzz --count 100 --target eyeriss-like --wide
    python -m benchmarks.fuzz --seed 17 --target tpu-like --save seed17.onnx

The last is how a failure is repeated; `dnncc-reduce` cuts the saved model down. Exit status 1 if
a network differs, or does not compile and run.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from .comparison import NoReferenceError, difference
from .graphs import network


def main(arguments: Sequence[str] | None = None) -> int:
    p = argparse.ArgumentParser("benchmarks.fuzz", description=(__doc__ or "").split("\n")[0])
    p.add_argument("--seed", type=int, default=0, help="the first one (%(default)s)")
    p.add_argument("--count", type=int, default=1, help="networks (%(default)s)")
    p.add_argument("--target", default="eyeriss-like", help="a name or a file (%(default)s)")
    p.add_argument("--wide", action="store_true", help="int16 feature maps, for 16-bit targets")
    p.add_argument("--save", metavar="FILE", type=Path, help="write the first network's model")
    options = p.parse_args(arguments)
    if options.save:
        options.save.write_bytes(network(options.seed, options.wide).SerializeToString())
    failed = lost = 0
    for seed in range(options.seed, options.seed + options.count):
        try:
            fault = difference(network(seed, options.wide), seed, options.target)
        except NoReferenceError:
            lost += 1
            continue
        failed += bool(fault)
        if fault:
            again = (
                f"python -m benchmarks.fuzz --seed {seed} --target {options.target}"
                + " --wide" * options.wide
            )
            print(f"{fault}\n    again: {again}", file=sys.stderr, flush=True)
    compared = options.count - lost
    print(f"{options.target}: {compared - failed} of {compared} networks as onnxruntime", end="")
    print(f", {lost} that it fails on itself" if lost else "")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
