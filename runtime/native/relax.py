"""TVM: from an ONNX model to machine code of this computer, and how to call it.

Only this module imports TVM: that takes 0.7 s, and replaces sys.excepthook, which is put back.
"""

import os
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import ModelProto

Array = npt.NDArray[Any]
Evaluate = Callable[[list[str], dict[str, Array]], Sequence[Any]]
"""Outputs of those names from inputs by name."""

TARGET = "llvm"
"""Any processor of this architecture: the code of TVM's default schedules gains nothing by more."""


def imported() -> Any:
    """The module `tvm`."""
    hook = sys.excepthook
    os.environ.setdefault("TVM_NUM_THREADS", "1")
    try:
        import tvm
    finally:
        sys.excepthook = hook
    return tvm


def executable(model: ModelProto) -> Any:
    """The model compiled; the names of its values do not matter. Raises whatever TVM raises."""
    tvm = imported()
    from tvm.relax.frontend.onnx import from_onnx

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it renames inputs, which are given by position
        module = from_onnx(model, keep_params_in_input=False)
    return tvm.compile(module, tvm.target.Target(TARGET))


def loaded(library: str) -> Any:
    """What `executable(...).export_library(library)` wrote."""
    tvm = imported()
    with unheard():
        return tvm.runtime.load_module(library)


@contextmanager
def unheard() -> Iterator[None]:
    """Without standard error: TVM 0.27 logs a line for each library. Its errors are exceptions."""
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def evaluate(code: Any, inputs: Sequence[str], outputs: Sequence[str]) -> Evaluate:
    """The `run(outputs, feeds)` of what was compiled from a model with those values in order."""
    tvm = imported()
    from tvm import relax

    main = relax.VirtualMachine(code, tvm.cpu())["main"]

    def run(wanted: list[str], feeds: dict[str, Array]) -> list[Array]:
        found = main(*(tvm.runtime.tensor(feeds[name]) for name in inputs))
        many = [found] if isinstance(found, tvm.runtime.Tensor) else list(found)
        made = {name: np.asarray(v.numpy()) for name, v in zip(outputs, many, strict=True)}
        return [made[name] for name in wanted]

    return run
