"""Binaries that a compiled module holds are run on the simulator."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

from dnncc.runtime import load

if TYPE_CHECKING:
    from dnncc.runtime import InferenceSession

SESSIONS = 64
"""Decoded binaries that are kept: a call of one costs no loading."""


@lru_cache(maxsize=SESSIONS)
def session(binary: bytes) -> InferenceSession:
    return load(binary)


def invoke(binary: Any, *tensors: Any) -> None:
    """Run a binary, uint8[size], on its inputs; its outputs are the tensors after them.

    Raises RunError if the binary or a tensor does not fit.
    """
    ready = session(binary.numpy().tobytes())
    inputs, outputs = ready.get_inputs(), ready.get_outputs()
    given, wanted = tensors[: len(inputs)], tensors[len(inputs) :]
    feeds = {t.name: v.numpy() for t, v in zip(in_order(inputs), given, strict=True)}
    names = [t.name for t in in_order(outputs)]
    for tensor, value in zip(wanted, ready.run(names, feeds), strict=True):
        tensor.copyfrom(value)


def in_order(tensors: Any) -> list[Any]:
    """By the numbers that `export` gave them: x0, x1, ... and y0, y1, ..."""
    return sorted(tensors, key=lambda tensor: int(tensor.name[1:]))
