"""Whether it pays to find out what can be grouped: about what either takes, in seconds.

From numbers of instructions and multiplications, not from a clock, so that the same calls always
run the same way.
"""

import numpy as np

from dnncc.isa import image as images
from dnncc.isa import program as programs
from dnncc.isa import tensor

NEST_SECONDS = 5e-3
"""To see how the tiles of a nest belong together; measured 5 to 20 ms, with up to 20 000 tiles."""

STEP_SECONDS, MAC_SECONDS = 4e-5, 5e-11
"""To execute an instruction on its own."""


def planning(image: images.Image) -> float:
    return NEST_SECONDS * len(image.debug.nodes) if image.debug else 0.0


def one_by_one(program: programs.Program) -> float:
    """Per input."""
    macs = 0.0
    for part in program.parts:
        if part.cls is tensor.Tensor:
            sizes = [part.column(name).astype(float) for name in "ngkcpqrs"]
            macs += float(np.prod(sizes, axis=0).sum())
    return program.count * STEP_SECONDS + macs * MAC_SECONDS
