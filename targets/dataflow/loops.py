"""The loops of one tile in the array, in a dataflow's own words: for people to read."""

from typing import Literal

import numpy as np
from msgspec import Struct

from .work import IntsLike

Level = Literal["glb", "array", "rf"]


class ArrayLoop(Struct, frozen=True):
    """`dim` in 0:extent:step, in time or, with the name of an axis, in space.

    `level` is where an iteration's operands come from: the memories beside the array, the network
    in it, or, while these stay, what a PE keeps. `dim` may be several joined: "c*r*s".
    """

    level: Level
    kind: Literal["for", "par"]
    dim: str
    extent: int
    step: int = 1
    axis: str = ""

    def __str__(self) -> str:
        step = f":{self.step}" if self.step > 1 else ""
        axis = f" @{self.axis}" if self.axis else ""
        return f"{self.kind} {self.dim} in 0:{self.extent}{step}{axis}"


def passed(dim: str, extent: IntsLike, step: IntsLike) -> ArrayLoop:
    """A loop whose iterations bring words from the memories to the array."""
    return ArrayLoop("glb", "for", dim, scalar(extent), scalar(step))


def spread(dim: str, extent: IntsLike, step: IntsLike, axis: str) -> ArrayLoop:
    """A loop whose iterations are on different PEs."""
    return ArrayLoop("array", "par", dim, scalar(extent), scalar(step), axis)


def kept(dim: str, extent: IntsLike) -> ArrayLoop:
    """A loop that a PE goes through with what it keeps."""
    return ArrayLoop("rf", "for", dim, scalar(extent))


def nest(*loops: ArrayLoop) -> tuple[ArrayLoop, ...]:
    """Those that have more than one iteration, outermost first."""
    return tuple(loop for loop in loops if loop.extent > loop.step)


def scalar(number: IntsLike) -> int:
    return int(np.asarray(number).item())
