"""What instructions are and mean.

The modules are imported when they are asked for: the tools' `--help` need not wait for NumPy.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from . import (
        asm,
        blocks,
        command,
        control,
        core,
        dma,
        elementwise,
        elf,
        image,
        lines,
        manual,
        numerics,
        objdump,
        pool,
        program,
        sections,
        short,
        tensor,
        vector,
    )

__all__ = [
    "asm",
    "blocks",
    "command",
    "control",
    "core",
    "dma",
    "elementwise",
    "elf",
    "image",
    "lines",
    "manual",
    "numerics",
    "objdump",
    "pool",
    "program",
    "sections",
    "short",
    "tensor",
    "vector",
]
