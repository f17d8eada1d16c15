"""Every node and nest knows the ONNX nodes it came from, and they are those of the model."""

from ..ir.graph import Graph, Node
from ..ir.tile import TileProgram
from ..passes.pipeline import Pass, Program
from .observer import Observer
from .verifying import BrokenProgram

MOVING = "canonicalize"
"""The pass in which nodes change places: what one computed may come out of the other."""


class Origins(Observer):
    """Names are of the first program seen; who computes a value of that names the value's maker."""

    def __init__(self) -> None:
        self.makers: dict[str, tuple[str, ...]] = {}
        self.known: set[str] = set()

    def before(self, step: Pass, program: Program | None) -> None:
        if not self.known and isinstance(program, Graph):
            self.begin(program)

    def begin(self, graph: Graph) -> None:
        self.known = {name for node in graph.walk() for name in node.loc}
        self.learn(graph)

    def learn(self, graph: Graph) -> None:
        self.makers = {o: node.loc for node in graph.walk() for o in node.outputs if o}

    def after(self, step: Pass, program: Program) -> None:
        if isinstance(program, Graph):
            if not self.known:
                self.begin(program)
            if step.name == MOVING:
                self.learn(program)
            for node in program.walk():
                self.check(step, node)
        elif isinstance(program, TileProgram):
            check_nests(step, program)

    def check(self, step: Pass, node: Node) -> None:
        for name in node.loc:
            if name not in self.known:
                raise BrokenProgram(step.name, f"node '{name}' is not one of the model")
        for output in node.outputs:
            maker = self.makers.get(output, ())
            if not set(maker) <= set(node.loc):
                told, true = " + ".join(node.loc), " + ".join(maker)
                what = f"'{output}' is computed by node '{true}', not by '{told}'"
                raise BrokenProgram(step.name, what)


def check_nests(step: Pass, program: TileProgram) -> None:
    parts = [n for n in program.graph.nodes if n.op in ("group", "host")]
    for node, nest in zip(parts, program.nests, strict=True):
        if node.loc != nest.loc:
            told, true = " + ".join(nest.loc), " + ".join(node.loc)
            raise BrokenProgram(step.name, f"the nest of node '{true}' says '{told}'")
