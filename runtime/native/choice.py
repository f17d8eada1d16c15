"""What runs a host part: onnx.reference, or machine code that TVM makes of it here.

`reference` is onnx.reference always. `tvm` is TVM wherever its code is safe and right. `auto` asks,
besides, that no operator rounds, so that values do not depend on whether TVM is there where that
would show, and that the part is heavy (work.py): BUILDING operations per input to compile it,
LOADING to load what is in the cache already.
"""

import platform
import shutil
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import onnx
from msgspec import Struct

from . import cache, relax, work
from .build import attempt, build, one_line, signature
from .relax import Evaluate
from .suitable import obstacle, rounding

LINKERS = ("g++", "gcc", "clang++", "clang", "c++", "cc")
"""One of which TVM finds."""

REFERENCE, TVM = "onnx.reference", "TVM"


class Choice(Struct, frozen=True):
    """What runs a part, why, and for TVM how."""

    runner: str
    why: str
    evaluate: Evaluate | None = None


class Unsuitable(Exception):
    """TVM does not run the part; the text says why."""


def choose(model: bytes, host: str = "auto") -> Choice:
    """What runs the part `model`, a valid ONNX model, under the option `host`.

    `host` is auto, tvm or reference.
    """
    if host == "reference":
        return Choice(REFERENCE, "as asked for")
    try:
        return compiled(model, host == "auto")
    except Unsuitable as reason:
        return Choice(REFERENCE, str(reason))


def compiled(model: bytes, sparing: bool) -> Choice:
    """The part as machine code. Raises Unsuitable."""
    proto, size = judged(model, sparing)
    conditions = installed()
    place = usable_folder()
    if place is None:
        needs_building(size, sparing)
        return in_memory(proto)
    return from_cache(model, proto, place, cache.key(model, *conditions), size, sparing)


def judged(model: bytes, sparing: bool) -> tuple[onnx.ModelProto, int]:
    """The model with the shapes of its values, and its operations. Raises Unsuitable."""
    try:
        proto = work.inferred(onnx.load_model_from_string(model))
        size = work.operations(proto)
        reasons = small(size, sparing), obstacle(proto), rounded(proto, sparing)
    except Exception as error:  # a malformed model fails in many ways
        raise Unsuitable(f"it cannot be judged: {one_line(error)}") from None
    for why in filter(None, reasons):
        raise Unsuitable(why)
    return proto, size


def small(size: int, sparing: bool) -> str:
    few = sparing and size < work.LOADING
    return f"{size} operations are too few to load TVM for" if few else ""


def rounded(proto: onnx.ModelProto, sparing: bool) -> str:
    name = rounding(proto) if sparing else ""
    return f"{name} rounds; --host tvm would compile it all the same" if name else ""


def needs_building(size: int, sparing: bool) -> None:
    if sparing and size < work.BUILDING:
        raise Unsuitable(f"{size} operations are too few to compile it for")


def installed() -> tuple[str, ...]:
    """What machine code depends on beside the model: versions, system, processor."""
    try:
        versions = version("apache-tvm"), version("apache-tvm-ffi"), version("onnx")
    except PackageNotFoundError:
        raise Unsuitable("TVM is not installed; pip install 'dnncc[tvm]'") from None
    return (*versions, sys.platform, platform.machine(), relax.TARGET)


def usable_folder() -> Path | None:
    """The cache's folder, if libraries can be linked and kept."""
    if not any(map(shutil.which, LINKERS)):
        return None
    try:
        return cache.folder()
    except cache.CacheError:
        return None


def from_cache(
    model: bytes, proto: onnx.ModelProto, place: Path, key: str, size: int, sparing: bool
) -> Choice:
    entry, source = cache.find(place, key), "from the cache"
    if entry is None:
        needs_building(size, sparing)
        entry, source = built(model, place, key), "compiled now"
    if entry.library is None:
        raise Unsuitable(entry.why)
    try:
        run = relax.evaluate(relax.loaded(str(entry.library)), *signature(proto))
    except Exception as error:
        raise Unsuitable(f"its library cannot be loaded: {one_line(error)}") from None
    return Choice(TVM, f"{size} operations; {source}", run)


def built(model: bytes, place: Path, key: str) -> cache.Entry:
    """A new entry; one that says why there is no library is kept as well, if it is final."""
    try:
        made = build(model, place)
        if made.final:
            return cache.add(place, key, made.library, made.why)
    except OSError as error:
        raise Unsuitable(f"{place}: {error.strerror or error}") from None
    raise Unsuitable(made.why)


def in_memory(proto: onnx.ModelProto) -> Choice:
    """Compiled for this process only: without a C compiler, or a folder to keep libraries in."""
    why, code = attempt(proto)
    if why:
        raise Unsuitable(why)
    run = relax.evaluate(code, *signature(proto))
    return Choice(TVM, "compiled in memory: no C compiler, or no folder to keep it in", run)
