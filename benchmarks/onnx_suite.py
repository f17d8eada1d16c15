"""ONNX's own backend suites through dnncc.backend: what is right, what is refused and why.

    python -m benchmarks.onnx_suite                         the node, simple and pytorch suites
    python -m benchmarks.onnx_suite --suites light -v --precision int8 --device tpu-like
                                                            nine large networks, on the accelerator
    python -m benchmarks.onnx_suite --match conv --device tpu-like -v

Exit status 1 if a case that onnx.reference passes is wrong or fails (dnncc/suite.py). Float models
stay float, unless --precision quantises them: then their values are as far off as 8 bits are, which
counts as wrong beyond the tolerance of ONNX's test.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections import Counter
from collections.abc import Iterator, Sequence

from dnncc.suite import (
    FAILED,
    LIGHT,
    OUTCOMES,
    PASSED,
    REFUSED,
    SUITES,
    WRONG,
    Verdict,
    cases,
    judged,
)

NEWEST = 21
"""Cases of later opsets are run, and counted apart."""


def cause(verdict: Verdict) -> str:
    """The reason without names and numbers, to count by."""
    return re.sub(r"'[^']*'", "'...'", re.sub(r"\d+", "N", verdict.reason))


def summary(verdicts: Sequence[Verdict]) -> Iterator[str]:
    expected = [v for v in verdicts if v.expected]
    old = [v for v in expected if v.case.opset <= NEWEST]
    groups = ((f"opset <= {NEWEST}", old), ("any opset", expected), ("all cases", verdicts))
    yield f"{'':14}" + "".join(f"{name:>9}" for name in ("cases", *OUTCOMES))
    for title, group in groups:
        counts = Counter(v.outcome for v in group)
        numbers = (len(group), *(counts[name] for name in OUTCOMES))
        share = f"  {counts[PASSED] / max(len(group), 1):.1%} passed"
        yield f"{title:14}" + "".join(f"{n:>9}" for n in numbers) + share
    yield ""
    yield "refused:"
    refused = [v for v in expected if v.outcome == REFUSED]
    for reason, count in Counter(map(cause, refused)).most_common():
        yield f"{count:5}  {reason}"


def faults(verdicts: Sequence[Verdict]) -> list[Verdict]:
    """What must not be: wrong values, and ends that are not a refusal."""
    return [v for v in verdicts if v.expected and v.outcome in (WRONG, FAILED)]


def main(arguments: Sequence[str] | None = None) -> int:
    p = argparse.ArgumentParser("benchmarks.onnx_suite", description=(__doc__ or "").split("\n")[0])
    p.add_argument("--suites", nargs="+", choices=(*SUITES, LIGHT), default=SUITES)
    p.add_argument("--match", default="", help="only cases with this in their name")
    p.add_argument("--device", default="CPU", help="a target (%(default)s: the default one)")
    p.add_argument("--precision", default="float", choices=("float", "int8", "int16"))
    p.add_argument("-v", "--verbose", action="store_true", help="a line per case not passed")
    options = p.parse_args(arguments)
    verdicts = []
    for case in cases(options.suites, options.match):
        verdicts.append(judged(case, options.device, options.precision))
        if options.verbose and (verdicts[-1].outcome != PASSED or case.suite == LIGHT):
            said = f"{verdicts[-1].outcome}: {verdicts[-1].reason}"
            print(f"{case.name} ({case.opset}): {said}", flush=True)
    print(*summary(verdicts), sep="\n")
    for verdict in faults(verdicts):
        print(f"{verdict.outcome}: {verdict.case.name}: {verdict.reason}", file=sys.stderr)
    return 1 if faults(verdicts) else 0


if __name__ == "__main__":
    sys.exit(main())
