"""The program is checked after every pass: an illegal one is the fault of the pass that made it."""

from dnncc.isa import core
from dnncc.targets import Target

from ..diagnostics import CompileError
from ..ir.graph import Graph
from ..ir.tile import TileProgram
from ..ir.tile_verify import verify_tile
from ..ir.verify import verify
from ..passes.pipeline import Pass, Program
from .observer import Observer
from .parameters import check_parameters


class BrokenProgram(Exception):
    """A pass made a program that breaks a rule of its level: an error of ours."""

    def __init__(self, step: str, reason: str) -> None:
        super().__init__(f"pass {step} made an illegal program: {reason}")
        self.step, self.reason = step, reason


class Verifying(Observer):
    def __init__(self, target: Target) -> None:
        self.target = target
        self.sound: Graph | None = None
        """The last Graph in which nothing was wrong: many passes leave it as it is."""

    def after(self, step: Pass, program: Program) -> None:
        try:
            self.check(program)
        except (CompileError, core.IsaError) as error:
            raise BrokenProgram(step.name, str(error)) from error

    def check(self, made: Program) -> None:
        """Raises CompileError or IsaError."""
        if isinstance(made, Graph):
            self.check_graph(made)
        elif isinstance(made, TileProgram):
            self.check_graph(made.graph)
            verify_tile(made, self.target)
        elif made.decoded.count != made.count:
            raise core.IsaError(f"{made.count} instructions are decoded as {made.decoded.count}")

    def check_graph(self, graph: Graph) -> None:
        if graph is not self.sound:
            verify(graph)
            check_parameters(graph)
            self.sound = graph
