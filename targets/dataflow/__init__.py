"""What an array costs: per dataflow one module, which all have the functions of `Dataflow`."""

from importlib import import_module
from typing import Protocol, cast

from ..schema import Target
from .work import Bools, Ints, Phases, Work

__all__ = ["Dataflow", "Phases", "Work", "model"]

ACCESSES = (
    "mac",
    *(f"{level}_{kind}" for level in ("rf", "noc", "glb") for kind in ("ifmap", "weight", "psum")),
)
"""What `accesses` counts, in words of the operand, psums in psums: MACs; reads and writes of a
PE's own storage; words that reach a PE over the network; reads and writes of the memories."""


class Dataflow(Protocol):
    """A dataflow's module. Arrays of tiles and int64 [..., parameters] broadcast together.

    `PARAMETERS` names the integers 0..255 that map a tile onto the array, at most six.
    """

    @property
    def PARAMETERS(self) -> tuple[str, ...]: ...

    def legal(self, target: Target, work: Work, params: Ints) -> Bools:
        """Whether the array can run the tile this way: bool [...]."""

    def explain(self, target: Target, work: Work, params: Ints) -> str:
        """Why one tile cannot be run this way, or "" if it can."""

    def choose(self, target: Target, work: Work) -> Ints:
        """The fastest parameters for each tile, int64 [..., parameters]; the same every time."""

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
