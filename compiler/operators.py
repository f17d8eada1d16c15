"""Which ONNX operators run where on a target, as the compiler decides on examples of each.

Nothing is listed by hand: an operator's examples are compiled up to the partition into accelerator
and host, and what became of its node is what is told. Small ones are found by trying
(frontend/probes.py); others are the cases of ONNX's node suite (frontend/cases.py), which are also
counted.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from msgspec import Struct, field
from msgspec.structs import asdict, replace
from onnx import NodeProto

from dnncc import targets

from .diagnostics import CompileError, Remarks
from .driver import importing, lower, until
from .frontend.cases import cases
from .frontend.probes import OPSET, Probe, is_of_sequences, operators, probes
from .frontend.qoperators import EXPANSIONS
from .frontend.shapes import is_function
from .host.evaluation import is_missing
from .ir.graph import Graph, Node
from .options import Options
from .passes.fold_constants import KNOWN
from .passes.pipeline import PIPELINE
from .suite import PASSED, alone, judged

ACCELERATOR, FOLDED, HOST, REFUSED, UNKNOWN = PLACES = (
    "accelerator", "constant", "host", "refused", "no example"
)  # fmt: skip
"""The best first. A constant is computed when the model is compiled."""

COUNTED = PLACES[:-1]
SUM_BITS = 32
UNPROBED = "no example of one node was found, and ONNX has no case of it alone"


class Support(Struct, frozen=True):
    """Where `operator` runs on a target: `forms` are the accelerator's operators, `reason` why not.

    `constant` if that takes all operands but the first to be constants. `cases` counts ONNX's own
    cases of it by where they run, `reasons` those that are not on the accelerator by why.
    """

    operator: str
    place: str
    forms: tuple[str, ...] = ()
    constant: bool = False
    reason: str = ""
    cases: Mapping[str, int] = field(default_factory=dict)
    reasons: Mapping[str, int] = field(default_factory=dict)


def supported(target: str, names: Sequence[str] | None = None) -> Iterator[Support]:
    """Of every operator, or those of these names. Raises TargetError."""
    return (support(name, target) for name in (operators() if names is None else names))


def support(name: str, target: str) -> Support:
    """The best place that one of its examples finds."""
    found = [probed(probe, target) for probe in probes(name)]
    suite = [best(probed(probe, target) for probe in forms) for forms in cases().get(name, ())]
    counts = Counter(s.place for s in suite)
    told = best((*found, *suite, unprobed(name)))
    reasons = Counter(cause(s.reason) for s in suite if s.place in (HOST, REFUSED))
    return replace(told, cases={p: counts[p] for p in PLACES if counts[p]}, reasons=dict(reasons))


def unprobed(name: str) -> Support:
    """Of an operator without an example: why there is none."""
    if is_of_sequences(name):
        return Support(name, REFUSED, reason="it takes or gives what is no tensor")
    if is_missing(name, "", OPSET):
        return Support(name, REFUSED, reason="neither the accelerator nor onnx.reference has it")
    return Support(name, UNKNOWN, reason=UNPROBED)


def best(found: Iterable[Support]) -> Support:
    return min(found, key=lambda s: PLACES.index(s.place))


def cause(reason: str) -> str:
    """A reason without names."""
    return re.sub(r"'[^']*'", "'...'", reason)


def probed(probe: Probe, target: str) -> Support:
    options = Options(target=target, verify=False)
    steps = until("partition", (importing(probe.model, options, Remarks()), *PIPELINE))
    try:
        graph = lower(None, steps, options)
    except CompileError as error:
        return Support(probe.operator, REFUSED, reason=error.message)
    assert isinstance(graph, Graph)
    reasons = [r for n in graph.nodes if n.op == "host" for r in reasons_of(n, probe.operator)]
    if reasons:
        place = FOLDED if reasons == [KNOWN] else HOST
        return Support(probe.operator, place, reason=reasons[0])
    made = [n for node in graph.nodes for n in (node.body or (node,))]
    expanded = is_function(NodeProto(op_type=probe.operator), {"": OPSET})
    named = [n for n in made if probe.operator in n.loc] or (made if expanded else [])
    forms = dict.fromkeys(n.op for n in named)
    return Support(probe.operator, ACCELERATOR, tuple(forms), probe.constant)


def reasons_of(node: Node, operator: str) -> list[str]:
    pairs = zip(node.attrs["refused"], node.attrs["reason"], strict=True)
    return [reason for name, reason in pairs if name == operator] or [node.attrs["reason"][0]]


def records(found: Iterable[Support]) -> list[dict[str, Any]]:
    """For JSON."""
    return [asdict(support) for support in found]


def lines(found: Iterable[Support]) -> Iterator[str]:
    for s in found:
        what = ", ".join(s.forms) or ("addressing" if s.place == ACCELERATOR else s.reason)
        note = " (constant operands)" if s.constant else ""
        counts = ", ".join(f"{n} {place}" for place, n in s.cases.items()) or "-"
        yield f"{s.operator:28} {s.place:12} {what}{note}; ONNX's cases: {counts}"


def markdown(names: Sequence[str], right: Mapping[str, str]) -> str:
    """docs/operators.md, for targets of these names; `right` is a column by operator."""
    taken = [f"`{domain}.{name}`" if domain else f"`{name}`" for domain, name in EXPANSIONS]
    listed = (row for name in operators() for row in rows(name, names, right.get(name, "")))
    head = f"| {' | '.join(HEADER)} |\n|{'---|' * len(HEADER)}"
    return "\n".join([INTRODUCTION.format(taken=", ".join(taken)) + head, *listed])


def rows(operator: str, names: Sequence[str], right: str) -> Iterator[str]:
    """A row per different answer of the targets."""
    answers: dict[tuple[str, str], list[str]] = {}
    for target in names:
        s = support(operator, target)
        where = ", ".join(f"`{form}`" for form in s.forms) or s.reason or "addressing"
        note = ", other operands constant" if s.constant else ""
        counts = " | ".join(str(s.cases.get(place, "")) for place in COUNTED)
        why = "; ".join(f"{n}: {reason}" for reason, n in s.reasons.items())
        answers.setdefault((f"{s.place} | {where}{note}", f"{counts} | {why}"), []).append(target)
    for (answer, told), on in answers.items():
        where = "all" if len(on) == len(names) else ", ".join(on)
        yield f"| {operator} | {answer} | {where} | {right} | {told} |"


def run_cases(operator: str) -> str:
    """How many of ONNX's cases of the operator alone, unquantised, dnncc.backend computes right, of
    those that onnx.reference does."""
    verdicts = [judged(case) for case in alone().get(operator, ())]
    expected = [v for v in verdicts if v.expected]
    right = sum(v.outcome == PASSED for v in expected)
    return f"{right} of {len(expected)}" if expected else ""


INTRODUCTION = """# ONNX operators

Made by `python -m dnncc.operators > docs/operators.md`, which takes minutes; do not edit.
`dnncc --list-ops --target T` prints the same for one target, `--json` for programs, from the same
code.

Of each operator of ONNX's default domain small quantised examples are compiled, and this is what
became of the best of them: where it runs, as which operators of dnncc (or why not), and on which
targets. *accelerator* means that this example runs there; what else an operator may need (windows,
axes, types) is checked per node, and a node that is refused runs on the host with its reason in the
report. *host* is exact but not simulated; *constant* is computed when compiling.

The cases are those of ONNX's node suite that have the operator alone. *right* are those that
`dnncc.backend` computes as they are given, mostly in float and so on the host, of those that
onnx.reference computes; others are refused with a reason. The columns after it count where they run
if their float32 values are quantised, and tell why some are on the host or do not compile (shapes
that depend on data, strings, sequences).

In QOperator form {taken} are read as DequantizeLinear, operator, QuantizeLinear.
`python -m benchmarks.onnx_suite` runs all of ONNX's suites through dnncc.

"""

HEADER = (
    *("operator", "runs on", "as, or why not", "targets", "right"),
    *("accelerator", "constant", "host", "refused", "why not"),
)


def compiled_for() -> list[str]:
    """The shipped targets that models are compiled for."""
    wide = (n for n in targets.names() if targets.load(n).datapath.accumulator_bits >= SUM_BITS)
    return list(wide)


if __name__ == "__main__":
    print(markdown(compiled_for(), {name: run_cases(name) for name in operators()}))
