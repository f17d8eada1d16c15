"""ONNX's own backend suites through dnncc.backend: what is right, what is refused and why.

    python -m benchmarks.onnx_suite                         the node, simple and pytorch suites
    python -m benchmarks.onnx_suite --suites light          nine large networks, minutes
    python -m benchmarks.onnx_suite --match conv --device tpu-like -v

A case is expected of us if onnx.reference itself gives its values. "refused" is one line that says
why (CompileError); "wrong" and "failed" (any other exception, or no end) are bugs, and the exit
status is 1 if there is one among the expected cases.
"""

from __future__ import annotations

import argparse
import re
import signal
import sys
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import ModelProto, TensorProto, numpy_helper
from onnx.backend.test.runner import Runner
from onnx.reference import ReferenceEvaluator

from dnncc.backend import DnnccBackend, free_inputs
from dnncc.diagnostics import CompileError

SUITES = ("node", "simple", "pytorch-converted", "pytorch-operator")
LIGHT = "light"
NEWEST = 21
"""Cases of later opsets are run, and counted apart."""

SECONDS = 60
PASSED, REFUSED, WRONG, FAILED = OUTCOMES = ("passed", "refused", "wrong", "failed")
Values = list[Any]


@dataclass(frozen=True)
class Case:
    """A model with inputs and the outputs that are expected of it."""

    name: str
    suite: str
    model: ModelProto
    data: Sequence[tuple[Values, Values]]
    rtol: float
    atol: float

    @property
    def opset(self) -> int:
        return max((o.version for o in self.model.opset_import if not o.domain), default=0)


@dataclass(frozen=True)
class Verdict:
    """`outcome` is one of OUTCOMES; `expected` if onnx.reference is right."""

    case: Case
    outcome: str
    expected: bool
    reason: str = ""


def cases(suites: Sequence[str], match: str = "") -> Iterator[Case]:
    from onnx.backend.test.loader import load_model_tests

    for suite in suites:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # making the node cases divides by zero, on purpose
            found: list[Any] = load_model_tests(kind="real" if suite == LIGHT else suite)
        for test in sorted((t for t in found if match in t.name), key=lambda t: t.name):
            if test.model is not None:
                data = [(arrays(i), arrays(o)) for i, o in test.data_sets]
                yield Case(test.name, suite, test.model, data, test.rtol, test.atol)
            elif test.model_dir is not None:
                yield from_folder(test, suite)
            elif test.url.startswith("onnx/backend/test/data/light/"):
                yield light(test)


def arrays(values: Sequence[Any]) -> Values:
    return [numpy_helper.to_array(v) if isinstance(v, TensorProto) else v for v in values]


def from_folder(test: Any, suite: str) -> Case:
    folder = Path(test.model_dir)
    model = onnx.load(folder / "model.onnx")
    sets = sorted(folder.glob("test_data_set_*"))
    data = [(stored(s, "input", model.graph.input), stored(s, "output", model.graph.output))
            for s in sets]  # fmt: skip
    return Case(test.name, suite, model, data, test.rtol, test.atol)


def stored(folder: Path, side: str, values: Sequence[Any]) -> Values:
    """The arrays `input_0.pb` and so on, whose types the model says."""
    found = sorted(folder.glob(f"{side}_*.pb"), key=lambda p: int(p.stem.split("_")[1]))
    return [parsed(path.read_bytes(), value) for path, value in zip(found, values, strict=False)]


def parsed(data: bytes, value: Any) -> Any:
    if value.type.HasField("sequence_type"):
        return numpy_helper.to_list(onnx.SequenceProto.FromString(data))
    if value.type.HasField("optional_type"):
        return numpy_helper.to_optional(onnx.OptionalProto.FromString(data))
    return numpy_helper.to_array(TensorProto.FromString(data))


def light(test: Any) -> Case:
    """A large network, with the input that ONNX's runner makes for it."""
    path = Path(onnx.__file__).parents[1] / test.url
    model = onnx.load(path)
    inputs = [Runner.generate_dummy_data(v, seed=0, name=test.name) for v in free_inputs(model)]
    expected = TensorProto.FromString(Path(f"{path.with_suffix('')}_output_0.pb").read_bytes())
    return Case(test.name, LIGHT, model, [(inputs, arrays([expected]))], test.rtol, test.atol)


def judged(case: Case, device: str = "CPU") -> Verdict:
    """Run the case; `expected` is not found out for a light one, which takes long."""
    expected = case.suite == LIGHT or not attempt(lambda: by_reference(case))[1]
    outcome, reason = attempt(lambda: by_backend(case, device))
    return Verdict(case, outcome, expected, reason)


def by_reference(case: Case) -> None:
    evaluator = ReferenceEvaluator(case.model)
    names = [v.name for v in free_inputs(case.model)]
    for inputs, outputs in case.data:
        got: Any = evaluator.run(None, dict(zip(names, inputs, strict=False)))
        compare(case, outputs, got)


def by_backend(case: Case, device: str) -> None:
    prepared = DnnccBackend.prepare(case.model, device)
    for inputs, outputs in case.data:
        compare(case, outputs, prepared.run(inputs))


def compare(case: Case, expected: Values, got: Sequence[Any]) -> None:
    Runner.assert_similar_outputs(expected, list(got), case.rtol, case.atol)


def attempt(run: Callable[[], None]) -> tuple[str, str]:
    """The outcome, and what was said; an empty reason if it passed."""
    try:
        with limited(SECONDS), np.errstate(all="ignore"):
            run()
    except CompileError as error:
        return REFUSED, f"{error.message}"
    except AssertionError as error:
        return WRONG, " ".join(str(error).split())[:200]
    except Exception as error:  # any other one is a bug
        return FAILED, f"{type(error).__name__}: {error}"
    return PASSED, ""


@contextmanager
def limited(seconds: int) -> Iterator[None]:
    """Raises TimeoutError in here after so many seconds."""

    def stop(*_: Any) -> None:
        raise TimeoutError(f"no end after {seconds} seconds")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


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
    p.add_argument("-v", "--verbose", action="store_true", help="a line per case not passed")
    options = p.parse_args(arguments)
    verdicts = []
    for case in cases(options.suites, options.match):
        verdicts.append(judged(case, options.device))
        if options.verbose and verdicts[-1].outcome != PASSED:
            print(f"{case.name} ({case.opset}): {verdicts[-1].outcome}: {verdicts[-1].reason}")
    print(*summary(verdicts), sep="\n")
    for verdict in faults(verdicts):
        print(f"{verdict.outcome}: {verdict.case.name}: {verdict.reason}", file=sys.stderr)
    return 1 if faults(verdicts) else 0


if __name__ == "__main__":
    sys.exit(main())
