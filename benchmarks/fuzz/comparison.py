"""One network through the simulator and through onnxruntime."""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import ModelProto

import dnncc
from dnncc.isa import elf
from dnncc.runtime import load
from tests.models import random_feeds
from tests.oracle import run


class NoReferenceError(Exception):
    """onnxruntime itself fails on the network."""


def difference(model: ModelProto, seed: int, target: str) -> str:
    """What is not as in onnxruntime, in a line; "" if all is. The input is random, of that seed.

    Raises NoReferenceError.
    """
    feeds = random_feeds(model, seed)
    try:
        expected = run(model, feeds)
    except Exception as error:  # one of its optimisations makes an illegal graph
        raise NoReferenceError(f"{model.graph.name}: {error}") from error
    try:
        got = simulated(model, feeds, target)
    except Exception as error:  # whatever it is, it is a failure of ours
        return f"{model.graph.name}: {type(error).__name__}: {error}"
    faults = [told(name, got[name], value) for name, value in expected.items()]
    return "; ".join(f"{model.graph.name}: {fault}" for fault in faults if fault)


def simulated(model: ModelProto, feeds: dict[str, Any], target: str) -> dict[str, Any]:
    """What the bytes of the binary compute."""
    session = load(elf.write(dnncc.compile(model, target, level=1).image))
    names = [t.name for t in session.get_outputs()]
    return dict(zip(names, session.run(names, feeds), strict=True))


def told(name: str, got: Any, expected: Any) -> str:
    if got.shape != expected.shape or got.dtype != expected.dtype:
        return f"'{name}' is {got.dtype}{got.shape}, not {expected.dtype}{expected.shape}"
    steps = np.abs(got.astype(int) - expected.astype(int))
    if not steps.any():
        return ""
    return f"'{name}': {np.count_nonzero(steps)} of {steps.size} differ, by up to {steps.max()}"
