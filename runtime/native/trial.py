"""Compiled code is held against onnx.reference once, on random inputs, before it is ever used."""

from typing import Any

import numpy as np
from onnx import ModelProto, helper
from onnx.reference import ReferenceEvaluator

from .relax import Array, Evaluate
from .work import dimensions, inferred, operations

SCALES = (1.0, 10.0, 0.0)
"""Of the normally distributed inputs, a trial each."""

MANY = 10**9
"""Operations from which there is one trial: onnx.reference takes seconds for each."""

RELATIVE = {"f2": 1e-2, "f4": 1e-4, "f8": 1e-9}
"""Allowed difference of a float, of its value and of a tenth of the largest in its tensor."""


def disagreement(model: ModelProto, run: Evaluate) -> str:
    """Where `run` computes something else than onnx.reference does, in words; "" if nowhere.

    Raises what either raises.
    """
    reference = ReferenceEvaluator(model)
    names = [v.name for v in model.graph.output]
    scales = SCALES if operations(inferred(model)) < MANY else SCALES[:1]
    for seed, scale in enumerate(scales):
        feeds = random_inputs(model, np.random.default_rng(seed), scale)
        with np.errstate(all="ignore"):
            wanted = reference.run(names, dict(feeds))
        got = run(names, feeds)
        for name, one, other in zip(names, wanted, got, strict=True):
            if found := difference(np.asarray(one), np.asarray(other)):
                return f"output {name!r} {found}"
    return ""


def random_inputs(model: ModelProto, random: np.random.Generator, scale: float) -> dict[str, Array]:
    held = {t.name for t in model.graph.initializer}
    inputs = [v for v in model.graph.input if v.name not in held]
    return {v.name: random_values(v.type.tensor_type, random, scale) for v in inputs}


def random_values(tensor: Any, random: np.random.Generator, scale: float) -> Array:
    shape = dimensions(tensor)
    dtype = np.dtype(helper.tensor_dtype_to_np_dtype(tensor.elem_type))
    if dtype.kind == "f":
        return np.asarray(random.normal(size=shape) * scale).astype(dtype)
    if dtype.kind == "b":
        return random.integers(0, 2, shape).astype(dtype)
    limits = np.iinfo(dtype)
    low, high = max(limits.min, -32768), min(limits.max, 32767)
    return random.integers(low, high, shape, endpoint=True).astype(dtype)


def difference(wanted: Array, got: Array) -> str:
    """How `got` differs from `wanted` by more than rounding, in words; "" if it does not."""
    if wanted.dtype != got.dtype or wanted.shape != got.shape:
        return f"is {got.dtype}{list(got.shape)}, not {wanted.dtype}{list(wanted.shape)}"
    if wanted.dtype.kind != "f":
        wrong = np.count_nonzero(wanted != got)
        return f"differs in {wrong} of {wanted.size} elements" if wrong else ""
    limit = RELATIVE[wanted.dtype.str[1:]]
    finite = np.abs(wanted[np.isfinite(wanted)])
    largest = float(finite.max()) if finite.size else 0.0
    same = np.isclose(got, wanted, rtol=limit, atol=limit * largest / 10, equal_nan=True)
    wrong = wanted.size - np.count_nonzero(same)
    return f"differs in {wrong} of {wanted.size} elements" if wrong else ""
