"""What a binary holds, apart from how ELF lays it out (elf.py)."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

ISA_VERSION = 1
DRAM_ALIGN = 64


@dataclass(frozen=True, slots=True)
class Symbol:
    """A tensor of the model at its place: byte `address` of `memory` (0 is DRAM).

    `kind` is "input", "output" or "tensor"; `strides` are in elements; scale and zero are those of
    its quantisation, scale 0 where it has none. Constants lie in .rodata, which DRAM starts with.
    """

    name: str
    kind: str
    dtype: str
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    memory: int
    address: int
    scale: float = 0.0
    zero: int = 0


@dataclass(frozen=True, slots=True)
class HostPart:
    """What `Host part=N` runs: a whole ONNX model, its inputs and outputs named as the symbols.

    Its own constants are its initializers. `reasons` says, per ONNX node, why it is not on the
    accelerator.
    """

    model: bytes
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    reasons: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Debug:
    """Per instruction, indices into `nodes` (ONNX node names, and the group they are fused in) and
    `steps` (tile steps, as text); int32[instructions], -1 for none."""

    nodes: tuple[str, ...]
    steps: tuple[str, ...]
    node_of: npt.NDArray[np.int32]
    step_of: npt.NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class Image:
    """A program with all that it needs to run.

    `rodata` is loaded at DRAM byte 0; the rest of DRAM, up to `dram_bytes`, is private to one input
    (a batch has one copy each). `target` is the whole target file as text.
    """

    text: bytes
    rodata: bytes
    dram_bytes: int
    target: str
    symbols: tuple[Symbol, ...]
    host: tuple[HostPart, ...] = ()
    debug: Debug | None = None
    tool: str = ""
    options: dict[str, Any] = field(default_factory=dict)
