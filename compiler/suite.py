"""ONNX's own backend suites through dnncc.backend: a case, and what becomes of it.

A case is expected of us if onnx.reference itself gives its values. "refused" is one line that says
why (CompileError); "wrong" and "failed" (any other exception, or no end) are bugs.
"""

from __future__ import annotations

import signal
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from msgspec import Struct
from onnx import ModelProto, TensorProto, numpy_helper
from onnx.backend.test.runner import Runner
from onnx.reference import ReferenceEvaluator

from .backend import DnnccBackend, free_inputs
from .diagnostics import CompileError

SUITES = ("node", "simple", "pytorch-converted", "pytorch-operator")
LIGHT = "light"
SECONDS, LIGHT_SECONDS = 60, 900
PASSED, REFUSED, WRONG, FAILED = OUTCOMES = ("passed", "refused", "wrong", "failed")
Values = list[Any]


class Case(Struct, frozen=True):
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


class Verdict(Struct, frozen=True):
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


@cache
def alone() -> Mapping[str, tuple[Case, ...]]:
    """The cases of the node suite that have one node, by its operator in the default domain."""
    found: dict[str, list[Case]] = {}
    for case in cases(["node"]):
        nodes = case.model.graph.node
        if len(nodes) == 1 and not nodes[0].domain:
            found.setdefault(nodes[0].op_type, []).append(case)
    return {name: tuple(listed) for name, listed in found.items()}


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


def judged(case: Case, device: str = "CPU", precision: str = "float") -> Verdict:
    """Run the case. A light one is expected if onnxruntime passes: onnx.reference takes hours."""
    seconds = LIGHT_SECONDS if case.suite == LIGHT else SECONDS
    known = by_onnxruntime if case.suite == LIGHT else by_reference
    expected = not attempt(lambda: known(case), seconds)[1]
    outcome, reason = attempt(lambda: by_backend(case, device, precision), seconds)
    return Verdict(case, outcome, expected, reason)


def by_reference(case: Case) -> None:
    evaluator = ReferenceEvaluator(case.model)
    names = [v.name for v in free_inputs(case.model)]
    for inputs, outputs in case.data:
        got: Any = evaluator.run(None, dict(zip(names, inputs, strict=False)))
        compare(case, outputs, got)


def by_onnxruntime(case: Case) -> None:
    """Raises ImportError where it is not installed."""
    onnxruntime: Any = import_module("onnxruntime")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(case.model.SerializeToString(), options)
    names = [v.name for v in free_inputs(case.model)]
    for inputs, outputs in case.data:
        compare(case, outputs, session.run(None, dict(zip(names, inputs, strict=False))))


def by_backend(case: Case, device: str, precision: str) -> None:
    prepared = DnnccBackend.prepare(case.model, device, precision=precision)
    for inputs, outputs in case.data:
        compare(case, outputs, prepared.run(inputs))


def compare(case: Case, expected: Values, got: Sequence[Any]) -> None:
    Runner.assert_similar_outputs(expected, list(got), case.rtol, case.atol)


def attempt(run: Callable[[], None], seconds: int) -> tuple[str, str]:
    """The outcome, and what was said; an empty reason if it passed."""
    try:
        with limited(seconds), np.errstate(all="ignore"):
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
