"""Whole layers at once: from the tiles of a nest back to the few large operations they add up to.

`nests` finds what each operand comes from, `operands` follows blocks through moves, `boxes` proves
that tiles make up a whole, `chains` adds up what the array sums, `merging` puts one instruction in
the place of all tiles of a step, and `plan` decides for a program. `convolution` and `lookup` are
what merged instructions become where the ISA's own `execute` is slower.
"""

from . import (
    boxes,
    chains,
    classes,
    convolution,
    factors,
    gathering,
    lookup,
    merging,
    nests,
    operands,
    planes,
    writers,
)
from .plan import Plan, plan

__all__ = [
    "Plan",
    "boxes",
    "chains",
    "classes",
    "convolution",
    "factors",
    "gathering",
    "lookup",
    "merging",
    "nests",
    "operands",
    "plan",
    "planes",
    "writers",
]
