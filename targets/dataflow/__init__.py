"""What an array costs: per dataflow one module, which all have the functions of `Dataflow`."""

from collections.abc import Mapping
from importlib import import_module
from typing import Protocol, cast

import numpy as np

from ..schema import Target
from .candidates import LARGEST
from .loops import ArrayLoop
from .work import Bools, Ints, Phases, Work

__all__ = ["LARGEST", "ArrayLoop", "Dataflow", "Phases", "Work", "fixed", "model"]

ACCESSES = (
    "mac",
    *(f"{level}_{kind}" for level in ("rf", "noc", "glb") for kind in ("ifmap", "weight", "psum")),
)
"""What `accesses` counts, in words of the operand, psums in psums: MACs; reads and writes of a
PE's own storage; words that reach a PE over the network; reads and writes of the memories."""


class Dataflow(Protocol):
    """A dataflow's module. Arrays of tiles and int64 [..., parameters] broadcast together.

    `PARAMETERS` names the integers 0..255 that map a tile onto the array, at most six.
    `CHANNELS_INNERMOST`: it takes several channels of a pixel at once, rather than pixels of a row.
    `TAPS_ON_ROWS`: the taps of a filter are on rows of the array beside its channels.
    """

    @property
    def PARAMETERS(self) -> tuple[str, ...]: ...

    @property
    def CHANNELS_INNERMOST(self) -> bool: ...

    @property
    def TAPS_ON_ROWS(self) -> bool: ...

    def legal(self, target: Target, work: Work, params: Ints) -> Bools:
        """Whether the array can run the tile this way: bool [...]."""

    def explain(self, target: Target, work: Work, params: Ints) -> str:
        """Why one tile cannot be run this way, or "" if it can."""

    def choose(self, target: Target, work: Work, fixed: Ints | None = None) -> Ints:
        """The fastest parameters for each tile, int64 [..., parameters]; the same every time.

        Those that are not 0 in `fixed`, int64 [parameters], are taken from there, in all tiles that
        can be run so.
        """

    def loops(self, target: Target, work: Work, params: Ints) -> tuple[ArrayLoop, ...]:
        """The loops of one tile that is not at an edge, outermost first."""

    def phases(self, target: Target, work: Work, params: Ints) -> Phases:
        """The parts of `cycles` that may overlap with the instruction before or after."""

    def cycles(self, target: Target, work: Work, params: Ints) -> Ints:
        """Cycles of an instruction that has the array for itself, int64 [...]."""

    def active_pes(self, target: Target, work: Work, params: Ints) -> Ints:
        """PEs with MACs to do while the tile's edges are not reached, int64 [...]."""

    def accesses(self, target: Target, work: Work, params: Ints) -> dict[str, Ints]:
        """Counts by the names of ACCESSES, int64 [...] each."""


def model(target: Target) -> Dataflow:
    """The dataflow of the target's array."""
    return cast(Dataflow, import_module(f".{target.dataflow}", __package__))


def fixed(target: Target, given: Mapping[str, int]) -> Ints:
    """Parameters by name as `choose` takes them, int64 [parameters]: 0 where none is given."""
    return np.array([given.get(name, 0) for name in model(target).PARAMETERS], np.int64)
