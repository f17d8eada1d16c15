"""Sample inputs of a model: from .npz and .npy files, or made up."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from msgspec import Struct
from onnx import ModelProto, helper

from ..diagnostics import CompileError
from ..ir.graph import Array

Source = str | PathLike[str] | Mapping[str, Array]
Feeds = dict[str, Array]

SYNTHETIC = 8
"""Samples, where there is no data."""

MOST_SAMPLES = 1 << 16


class Input(Struct, frozen=True):
    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]


def inputs_of(model: ModelProto) -> list[Input]:
    """The inputs of a model whose shapes are static."""
    constants = {t.name for t in model.graph.initializer}
    return [
        Input(
            v.name,
            tuple(d.dim_value for d in v.type.tensor_type.shape.dim),
            np.dtype(helper.tensor_dtype_to_np_dtype(v.type.tensor_type.elem_type)),
        )
        for v in model.graph.input
        if v.name not in constants
    ]


def synthetic(inputs: Sequence[Input]) -> list[Feeds]:
    """Normal values for real inputs, 0 and 1 for integers, which may be indices; seeded."""
    return [
        {i.name: made_up(i, np.random.default_rng(s)) for i in inputs} for s in range(SYNTHETIC)
    ]


def made_up(wanted: Input, rng: np.random.Generator) -> Array:
    if wanted.dtype.kind == "f":
        return rng.standard_normal(wanted.shape).astype(wanted.dtype)
    return rng.integers(0, 2, wanted.shape).astype(wanted.dtype)


def read_samples(source: Source, inputs: Sequence[Input]) -> list[Feeds]:
    """The samples in an .npz, whose keys are input names and whose first dimension counts them, or
    in a folder of such files and of NAME.npy; of a model with one input, each .npy in it has
    samples, whatever its name. Raises CompileError, OSError."""
    if isinstance(source, Mapping):
        return split("the calibration data", source, inputs)
    path = Path(source)
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    singles, samples = dict[str, Array](), list[Feeds]()
    for file in files:
        if file.suffix == ".npy" and len(inputs) > 1:
            singles |= {file.stem: read_single(file)}
        elif file.suffix == ".npy" and inputs:
            samples += split(str(file), {inputs[0].name: read_single(file)}, inputs)
        elif file.suffix == ".npz" or not path.is_dir():
            samples += split(str(file), read_npz(file), inputs)
    samples += split(str(path), singles, inputs) if singles else []
    if not samples:
        raise CompileError(
            "there are no samples in it", file=str(path), hint="give .npz or .npy files"
        )
    return samples


def read_single(file: Path) -> Array:
    try:
        return np.asarray(np.load(file, allow_pickle=False))
    except (ValueError, EOFError, SyntaxError):
        raise CompileError("not an array of numbers", file=str(file)) from None


def read_npz(file: Path) -> Feeds:
    try:
        with np.load(file, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except (ValueError, EOFError, AttributeError, SyntaxError, TypeError, zipfile.BadZipFile):
        raise CompileError("not an .npz file of arrays", file=str(file)) from None


def split(file: str, arrays: Mapping[str, Array], inputs: Sequence[Input]) -> list[Feeds]:
    """One dictionary per sample."""
    names = [i.name for i in inputs]
    for name in [*arrays, *names]:
        if (name in arrays) != (name in names):
            what = "is no input of the model" if name in arrays else "is missing"
            raise CompileError(f"'{name}' {what}", file=file, hint=f"its inputs are {names}")
    parts = {i.name: list(samples_of(i, arrays[i.name], file)) for i in inputs}
    counts = {len(p) for p in parts.values()}
    if len(counts) > 1:
        told = ", ".join(f"'{k}': {len(p)}" for k, p in parts.items())
        raise CompileError(f"its inputs have different counts of samples: {told}", file=file)
    return [dict(zip(parts, row, strict=True)) for row in zip(*parts.values(), strict=True)]


def samples_of(wanted: Input, array: Array, file: str) -> Iterator[Array]:
    """[samples, ...] or [samples * batch, ...] in pieces of the input's shape and type; or one
    sample without its batch of 1."""
    shape, name = wanted.shape, wanted.name
    if array.dtype.kind not in "biuf" or (array.dtype.kind == "f" and wanted.dtype.kind != "f"):
        raise CompileError(f"'{name}' is {array.dtype}, not {wanted.dtype}", file=file)
    if array.shape[1:] == shape and len(array):
        rows = array
    elif array.ndim == len(shape) > 0 and is_whole(array.shape, shape):
        rows = array.reshape(-1, *shape)
    elif shape == (1, *array.shape):
        rows = array.reshape(1, *shape)
    else:
        hint = "the first dimension counts samples"
        message = f"'{name}' has shape {list(array.shape)}, the input's is {list(shape)}"
        raise CompileError(message, file=file, hint=hint)
    if len(rows) > MOST_SAMPLES:
        raise CompileError(f"more than {MOST_SAMPLES} samples", file=file)
    if not np.isfinite(rows.astype(np.float64, copy=False)).all():
        raise CompileError(f"'{name}' has values that are not finite", file=file)
    return iter(rows.astype(wanted.dtype))


def is_whole(given: Sequence[int], shape: Sequence[int]) -> bool:
    return list(given[1:]) == list(shape[1:]) and given[0] > 0 and given[0] % shape[0] == 0
