"""After it, the graph is a Tile program: a loop nest per group, a call per host part.

A nest is loads, steps and stores on buffers whose slots make double buffering explicit.
"""

from collections.abc import Iterable
from dataclasses import replace

from dnncc.targets import Target

from ..ir.graph import Graph, Node
from ..ir.tile import (
    Buffer,
    Compute,
    Dim,
    HostCall,
    Load,
    Loop,
    Nest,
    Operand,
    Step,
    Store,
    TileProgram,
)
from ..mapping.cost import Problem
from ..mapping.lowering import workload
from ..mapping.mapping import Mapping
from ..mapping.workload import Access, StepSpec, Workload, scratchpad_dtype
from .context import Context, target_of

Body = tuple[Loop | Step, ...]


def tile_loops(graph: Graph, ctx: Context) -> TileProgram:
    nests: list[Nest] = []
    parts = 0
    for node in graph.nodes:
        if node.op == "host":
            nests.append(Nest(node.loc, "host", {}, (HostCall(parts),)))
            parts += 1
        elif node.op == "group":
            nests.append(nest_of(node, graph, target_of(ctx)))
    return TileProgram(graph, tuple(nests))


def nest_of(group: Node, graph: Graph, target: Target) -> Nest:
    load = workload(group, graph, target)
    tiler = Tiler(load, Mapping.from_attr(group.attrs["mapping"]), Problem(load, graph, target, {}))
    op = "+".join(n.op for n in group.body)
    return Nest(group.loc, op, load.dims, tiler.body(0), tiler.buffers())


class Tiler:
    """Lays the loads, steps and stores of one workload into the loops of its mapping.

    Level i is inside the first i loops of the order; level 0 is outside of them all.
    """

    def __init__(self, load: Workload, mapping: Mapping, problem: Problem) -> None:
        self.load, self.mapping, self.problem = load, mapping, problem
        self.order = mapping.order
        self.outer_level = sum(v not in load.reduction for v in self.order)
        self.by_role = {a.role: a for a in load.accesses()}

    def whole(self, access: Access) -> bool:
        return access.role in self.mapping.resident

    def level(self, access: Access) -> int:
        """Where its tile changes."""
        if self.whole(access):
            return 0
        if access.kind in ("psum", "ofmap"):
            return self.outer_level
        own = access.variables()
        return max((i + 1 for i, v in enumerate(self.order) if v in own), default=0)

    def operand(self, access: Access, tensor: str = "") -> Operand:
        """The tile of `access`, holding `tensor` of the chain that works in one buffer."""
        dtype = access.dtype
        if tensor:
            held = self.problem.graph.tensors[tensor].dtype
            dtype = scratchpad_dtype(held, self.problem.target)
        if access.tensor and not self.problem.moves(access):
            return Operand(access.tensor, access.box, dtype)
        in_place = access is self.load.result and self.problem.in_place()
        buffer, loops = "psum" if in_place else access.role, self.order[: self.level(access)]
        return Operand(access.tensor, access.box, dtype, buffer, loops, self.whole(access))

    def body(self, level: int) -> Body:
        items: list[Loop | Step] = list(self.loads(level))
        if level < len(self.order):
            var = self.order[level]
            step = self.mapping.steps[var]
            items.append(Loop(var, self.load.dims[var], step, self.body(level + 1)))
        else:
            items += [self.compute(s, self.load.reduction) for s in self.load.inner]
        if level == self.outer_level:
            items += [self.compute(s, ()) for s in self.load.outer]
            items += self.stores()
        return tuple(items)

    def loads(self, level: int) -> Iterable[Load]:
        for access in self.load.inputs:
            if self.level(access) == level and self.problem.moves(access):
                operand = self.operand(access)
                if self.whole(access):
                    operand = replace(operand, box=tuple(Dim.whole(d.bound) for d in access.box))
                yield Load(operand)

    def stores(self) -> Iterable[Store]:
        if self.problem.moves(self.load.result):
            yield Store(self.operand(self.load.result))

    def compute(self, spec: StepSpec, reduction: tuple[str, ...]) -> Compute:
        operands = {
            name: self.operand(self.by_role[role], tensor)
            for name, (role, tensor) in spec.uses.items()
        }
        accumulate = tuple(v for v in self.order if v in reduction)
        forced = spec.op == "tensor" and self.mapping.array
        attrs = {**spec.attrs, "parameters": dict(self.mapping.array)} if forced else spec.attrs
        return Compute(spec.op, operands, attrs, accumulate)

    def buffers(self) -> tuple[Buffer, ...]:
        made = [self.buffer(a) for a in self.by_role.values() if self.problem.buffered(a)]
        return tuple(made)

    def buffer(self, access: Access) -> Buffer:
        largest = tuple(int(s) for s in access.tile_shape(self.mapping.steps))
        shape = tuple(d.bound for d in access.box) if self.whole(access) else largest
        memory = self.problem.target.memory_for(access.kind).name  # type: ignore[arg-type]
        slots = self.mapping.slots[access.role]
        return Buffer(access.role, access.kind, memory, shape, access.dtype, slots)
