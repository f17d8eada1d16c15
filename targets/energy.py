"""Energy: accesses in operand words at each level, times what the target's table says one costs."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from .cost import ceil_div
from .schema import Target

Floats = npt.NDArray[np.float64]

LEVELS = ("mac", "rf", "noc", "glb", "dram")
"""Where energy goes: MACs, the registers of PEs, the array's network, on-chip memories, DRAM."""


def words(size: Any, target: Target) -> Any:
    """Operand words that hold `size` bytes."""
    return ceil_div(size, target.datapath.operand_bytes)


def level_sums(counted: Mapping[str, Any], target: Target) -> dict[str, Any]:
    """Operand words per level, but for DRAM, of what a dataflow's `accesses` counts: per level and
    operand, those of psums in psum words."""
    wide = target.datapath.accumulator_bits / target.datapath.operand_bits
    sums: dict[str, Any] = dict.fromkeys(LEVELS[:-1], 0)
    for name, count in counted.items():
        level, _, operand = name.partition("_")
        factor = wide if operand.startswith("psum") else 1
        sums[level] = sums[level] + np.rint(count * factor).astype(np.int64)
    return sums


def energy(counted: Mapping[str, Any], target: Target) -> Floats:
    """Energy, in the target's unit, of words by level."""
    parts = [count * getattr(target.energy, level) for level, count in counted.items()]
    return np.asarray(sum(parts), np.float64)
