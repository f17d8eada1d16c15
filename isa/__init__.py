"""What instructions are and mean."""

from . import control, core, dma, elementwise, numerics, pool, program, tensor, vector

__all__ = [
    "control",
    "core",
    "dma",
    "elementwise",
    "numerics",
    "pool",
    "program",
    "tensor",
    "vector",
]
