"""Arrays and reports in files: read without trust, written all or not at all."""

import json
import os
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np

from .errors import RunError
from .machine import Array
from .signature import Tensor, listed

LARGEST_ARRAY = 1 << 31
OLDEST = (1980, 1, 1, 0, 0, 0)
"""The date of all members of an .npz, so that equal arrays make equal files."""


def read_inputs(sources: Sequence[str], inputs: Sequence[Tensor]) -> dict[str, Array]:
    """Arrays by input name from files: "in.npz", whose keys are names, or "name=file.npy".

    Raises RunError, naming file and array, for what is no array of numbers or no input's.
    """
    known = [t.name for t in inputs]
    feeds: dict[str, Array] = {}
    for source in sources:
        for name, array in read_source(source, known).items():
            if name in feeds:
                raise RunError(f"{source}: input {name!r} is given twice")
            feeds[name] = array
    return feeds


def read_source(source: str, known: Sequence[str]) -> dict[str, Array]:
    name, equals, file = source.rpartition("=")
    path = Path(file if equals and not source.endswith(".npz") else source)
    if not path.is_file():
        raise RunError(f"{path}: no such file; give --input FILE.npz or NAME=FILE.npy")
    if source.endswith(".npz"):
        return read_npz(path, known)
    if not equals:
        raise RunError(f"{path}: which input is it? give --input NAME={path}")
    return {name: read_array(path, path.stat().st_size, lambda: np.load(path, allow_pickle=False))}


def read_npz(path: Path, known: Sequence[str]) -> dict[str, Array]:
    """All arrays of an .npz; each has to be of an input that is known."""
    try:
        archive = np.load(path, allow_pickle=False)
        sizes = {i.filename.removesuffix(".npy"): i.file_size for i in archive.zip.infolist()}
    except (OSError, ValueError, AttributeError, EOFError, zipfile.BadZipFile):
        raise RunError(f"{path}: not an .npz file of arrays") from None
    with archive:
        for name in archive.files:
            if name not in known:
                raise RunError(f"{path}: the model has no input {name!r}; it has {listed(known)}")
        return {n: read_array(path, sizes[n], lambda n=n: archive[n]) for n in archive.files}  # type: ignore[misc]


def read_array(path: Path, size: int, read: Callable[[], Any]) -> Array:
    """What `read` gives, if it is an array of numbers of a size that can be taken."""
    if size > LARGEST_ARRAY:
        raise RunError(f"{path}: an array of {size} bytes; at most {LARGEST_ARRAY} are taken")
    try:
        array = read()
    except (OSError, ValueError, MemoryError, EOFError, SyntaxError, zipfile.BadZipFile):
        raise RunError(f"{path}: cannot be read as an array of numbers") from None
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "biuf":
        raise RunError(f"{path}: not an array of numbers")
    return array


def random_inputs(inputs: Sequence[Tensor], seed: int) -> dict[str, Array]:
    """Arrays for all inputs, the same for the same seed: whole range of integers, normal floats."""
    rng = np.random.default_rng(seed)
    return {t.name: random_array(rng, t.dtype, t.shape) for t in inputs}


def random_array(rng: "np.random.Generator", dtype: np.dtype[Any], shape: Sequence[int]) -> Array:
    if dtype.kind == "f":
        return rng.standard_normal(shape).astype(dtype)
    if dtype.kind == "b":
        return rng.integers(0, 2, shape).astype(dtype)
    info = np.iinfo(dtype)
    return rng.integers(info.min, info.max, shape, dtype, endpoint=True)


def write_npz(path: Path, arrays: Mapping[str, Array]) -> None:
    """Arrays under their names, whatever these are (np.savez cannot take "file")."""

    def write(stream: IO[bytes]) -> None:
        with zipfile.ZipFile(stream, "w") as archive:
            for name, array in arrays.items():
                with archive.open(zipfile.ZipInfo(f"{name}.npy", OLDEST), "w") as member:
                    np.lib.format.write_array(member, np.ascontiguousarray(array))

    replace(path, write)


def write_json(path: Path, value: Any, indent: int | None = 1) -> None:
    """As text of one line where `indent` is None."""
    text = json.dumps(value, indent=indent) + "\n"
    replace(path, lambda stream: stream.write(text.encode()))


def replace(path: Path, write: Callable[[IO[bytes]], Any]) -> None:
    """Write beside, then rename: a reader sees the old file or the whole new one.

    A path that is there but is no regular file, as /dev/stdout, is written in place.
    """
    if path.exists() and not path.is_file():
        with path.open("wb") as stream:
            write(stream)
        return
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("xb") as stream:
            write(stream)
        temporary.replace(path)
    except OSError as error:
        error.filename = str(path)  # which its message names
        raise
    finally:
        temporary.unlink(missing_ok=True)
