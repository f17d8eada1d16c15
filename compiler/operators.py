"""Which ONNX operators run where on a target, as the compiler decides on a small example of each.

Nothing is listed by hand: each operator's probe is compiled up to the partition into accelerator
and host, and what became of its node is what is told.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from dnncc import targets

from .diagnostics import CompileError, Remarks
from .driver import importing, lower, until
from .frontend.probes import Probe, operators, probes
from .frontend.qoperators import EXPANSIONS
from .ir.graph import Graph, Node
from .options import Options
from .passes.fold_constants import KNOWN
from .passes.pipeline import PIPELINE

ACCELERATOR, FOLDED, HOST, REFUSED, UNKNOWN = PLACES = (
    "accelerator", "constant", "host", "refused", "no example"
)  # fmt: skip
"""The best first. A constant is computed when the model is compiled."""

SUM_BITS = 32
UNPROBED = "no example of one node with tensors of static shape was found"


@dataclass(frozen=True)
class Support:
    """Where `operator` runs on a target: `forms` are the accelerator's operators, `reason` why not.

    `constant` if that takes all operands but the first to be constants.
    """

    operator: str
    place: str
    forms: tuple[str, ...] = ()
    constant: bool = False
    reason: str = ""


def supported(target: str, names: Sequence[str] | None = None) -> list[Support]:
    """Of every operator, or those of these names. Raises TargetError."""
    return [support(name, target) for name in (operators() if names is None else names)]


def support(name: str, target: str) -> Support:
    """The best place that one of its probes finds."""
    found = [probed(probe, target) for probe in probes(name)]
    found.append(Support(name, UNKNOWN, reason=UNPROBED))
    return min(found, key=lambda s: PLACES.index(s.place))


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
    made = (n for node in graph.nodes for n in (node.body or (node,)))
    forms = dict.fromkeys(n.op for n in made if probe.operator in n.loc)
    return Support(probe.operator, ACCELERATOR, tuple(forms), probe.constant)


def reasons_of(node: Node, operator: str) -> list[str]:
    pairs = zip(node.attrs["refused"], node.attrs["reason"], strict=True)
    return [reason for name, reason in pairs if name == operator] or [node.attrs["reason"][0]]


def records(found: Sequence[Support]) -> list[dict[str, Any]]:
    """For JSON."""
    return [asdict(support) for support in found]


def lines(found: Sequence[Support]) -> Iterator[str]:
    for s in found:
        what = ", ".join(s.forms) or ("addressing" if s.place == ACCELERATOR else s.reason)
        note = " (constant operands)" if s.constant else ""
        yield f"{s.operator:28} {s.place:12} {what}{note}"


def markdown(names: Sequence[str]) -> str:
    """docs/operators.md: an operator has a row per different answer."""
    by_operator: dict[str, dict[str, list[str]]] = {}
    for target in names:
        for s in supported(target):
            where = ", ".join(f"`{form}`" for form in s.forms) or s.reason or "addressing"
            note = ", other operands constant" if s.constant else ""
            answer = f"{s.place} | {where}{note}"
            by_operator.setdefault(s.operator, {}).setdefault(answer, []).append(target)
    rows = [
        f"| {operator} | {answer} | {'all' if len(on) == len(names) else ', '.join(on)} |"
        for operator, answers in by_operator.items()
        for answer, on in answers.items()
    ]
    taken = [f"`{domain}.{name}`" if domain else f"`{name}`" for domain, name in EXPANSIONS]
    return "\n".join([INTRODUCTION.format(taken=", ".join(taken)), *rows])


INTRODUCTION = """# ONNX operators

Made by `python -m dnncc.operators > docs/operators.md`; do not edit. `dnncc --list-ops --target T`
prints the same for one target, `--json` for programs.

Of each operator of ONNX's default domain a small quantised example is compiled, and this is what
became of it: where it runs, as which operators of dnncc (or why not), and on which targets.
*accelerator* means that this example runs there; what else an operator may need (windows, axes,
types) is checked per node, and a node that is refused runs on the host with its reason in the
report. *host* is exact but not simulated; *constant* is computed when compiling. *no example* are
mostly sequences, strings, and control flow.

In QOperator form {taken} are read as DequantizeLinear, operator, QuantizeLinear.
`python -m benchmarks.onnx_suite` runs ONNX's own test suites through dnncc.

| operator | runs on | as, or why not | targets |
|---|---|---|---|"""


def compiled_for() -> list[str]:
    """The shipped targets that models are compiled for."""
    wide = (n for n in targets.names() if targets.load(n).datapath.accumulator_bits >= SUM_BITS)
    return list(wide)


if __name__ == "__main__":
    print(markdown(compiled_for()))
