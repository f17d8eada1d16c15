"""After it, the graph is a Tile program: a loop nest per group, a call per host part.

A nest is loads, steps and stores on buffers whose slots make double buffering explicit.
"""

from collections.abc import Iterator, Sequence
from collections.abc import Mapping as Dict
from itertools import groupby, pairwise
from os.path import commonprefix

from msgspec import Struct
from msgspec.structs import replace

from dnncc.targets import Target

from ..ir.graph import Graph, Node
from ..ir.tile import (
    Buffer,
    Compute,
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
from ..mapping.rings import ring_of
from ..mapping.workload import Access, StepSpec, Workload, scratchpad_dtype
from .context import Context, target_of

Body = tuple[Loop | Step, ...]
Loops = tuple[str, ...]


class Placed(Struct, frozen=True):
    """A step, and the loops around it, outermost first."""

    loops: Loops
    step: Step


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
    beside = bool(group.attrs.get("beside"))
    return Nest(group.loc, op, load.dims, tiler.body(), tiler.buffers(), beside)


class Tiler:
    """Lays the loads, steps and stores of one workload into the loops of its mapping."""

    def __init__(self, load: Workload, mapping: Mapping, problem: Problem) -> None:
        self.load, self.mapping, self.problem = load, mapping, problem
        self.by_role = {a.role: a for a in load.accesses()}

    def whole(self, access: Access) -> bool:
        return access.role in self.mapping.resident

    def around(self, apart: Loops) -> Loops:
        """The loops, outermost first, but for those that something is apart from."""
        return tuple(v for v in self.mapping.order if v not in apart)

    def changes(self, access: Access) -> Loops:
        """The loops in which its tile is another one."""
        if self.whole(access):
            return ()
        loops, own = self.around(access.apart), access.variables()
        if access.kind in ("psum", "ofmap"):
            return loops
        return loops[: max((i + 1 for i, v in enumerate(loops) if v in own), default=0)]

    def loops(self, spec: StepSpec) -> Loops:
        made = self.load.prepared(spec)
        return self.changes(made) if made else self.around(spec.apart)

    def operand(self, access: Access, tensor: str = "") -> Operand:
        """The tile of `access`, holding `tensor` of the chain that works in one buffer."""
        if access.within:
            return self.part(access)
        dtype = access.dtype
        if tensor:
            held = self.problem.graph.tensors[tensor].dtype
            dtype = scratchpad_dtype(held, self.problem.target)
        if access.tensor and not self.problem.moves(access):
            return Operand(access.tensor, access.box, dtype)
        in_place = access is self.load.result and self.problem.in_place
        buffer, loops = "psum" if in_place else access.role, self.changes(access)
        return Operand(access.tensor, access.box, dtype, buffer, loops, self.whole(access))

    def part(self, access: Access) -> Operand:
        """Of the tile of another access."""
        whole = self.operand(self.by_role[access.within])
        held = () if whole.whole or not whole.buffer else whole.box
        return replace(whole, box=access.box, held=held)

    def body(self) -> Body:
        return nested(list(self.placed()), self.load.dims, self.mapping.steps)

    def placed(self) -> Iterator[Placed]:
        """All in program order, loads in fewer loops first."""
        specs = self.load.steps()
        before: list[list[Placed]] = [[] for _ in specs]
        for access in filter(self.problem.moves, self.load.inputs):
            placed = Placed(self.changes(access), self.load_of(access))
            before[self.place(access, specs)].append(placed)
        for spec, loads in zip(specs, before, strict=True):
            yield from sorted(loads, key=lambda placed: len(placed.loops))
            yield Placed(self.loops(spec), self.compute(spec))
        if self.problem.moves(self.load.result):
            result = self.load.result
            yield Placed(self.around(result.apart), Store(self.operand(result)))

    def place(self, access: Access, specs: Sequence[StepSpec]) -> int:
        """The step before which it is loaded: the first that uses it, if the lanes do, or that may
        use it; or the nearest one before where a load in its loops parts no other loop."""
        loops = self.changes(access)
        due = next(i for i, spec in enumerate(specs) if self.may_use(spec, access))
        paths = [(), *map(self.loops, specs)]
        shared = [len(commonprefix(pair)) for pair in pairwise(paths)]
        fits = (
            i for i in range(due + 1) if shared[i] <= len(loops) and inside(loops, paths[i + 1])
        )
        return max(fits)

    def may_use(self, spec: StepSpec, access: Access) -> bool:
        if self.load.prepared(spec) or access.role in self.load.joining:
            return access in self.load.used(spec).values()
        return set(access.apart) <= set(spec.apart)

    def load_of(self, access: Access) -> Load:
        operand = self.operand(access)
        return Load(replace(operand, box=operand.buffered()) if self.whole(access) else operand)

    def compute(self, spec: StepSpec) -> Compute:
        operands = {
            name: self.operand(self.by_role[role], tensor)
            for name, (role, tensor) in spec.uses.items()
        }
        if spec.op != "tensor":
            return Compute(spec.op, operands, spec.attrs)
        forced = {"parameters": dict(self.mapping.array)} if self.mapping.array else {}
        summed = self.load.summed(spec)
        accumulate = tuple(v for v in self.mapping.order if v in summed)
        return Compute(spec.op, operands, {**spec.attrs, **forced}, accumulate)

    def buffers(self) -> tuple[Buffer, ...]:
        made = [self.buffer(a) for a in self.by_role.values() if self.problem.buffered(a)]
        return tuple(made)

    def buffer(self, access: Access) -> Buffer:
        largest = tuple(int(s) for s in access.held_shape(self.mapping.steps))
        shape = tuple(d.bound for d in access.box) if self.whole(access) else largest
        memory = self.problem.target.memory_for(access.kind).name  # type: ignore[arg-type]
        slots = self.mapping.slots[access.role]
        if rolling := ring_of(self.load, self.mapping.ring, access):
            held = rolling.shape(self.mapping.steps, slots)
            shape, slots = tuple(int(n) for n in held), 1
        ring = rolling.var if rolling else access.ring
        return Buffer(access.role, access.kind, memory, shape, access.dtype, slots, ring=ring)


def inside(outer: Loops, inner: Loops) -> bool:
    return inner[: len(outer)] == outer


def nested(items: Sequence[Placed], dims: Dict[str, int], steps: Dict[str, int]) -> Body:
    """The steps in their loops; neighbours that have a loop in common share it."""
    body: list[Loop | Step] = []
    for outermost, run in groupby(items, lambda placed: placed.loops[:1]):
        if not outermost:
            body += [placed.step for placed in run]
            continue
        (var,) = outermost
        inside = [Placed(placed.loops[1:], placed.step) for placed in run]
        body.append(Loop(var, dims[var], steps[var], nested(inside, dims, steps)))
    return tuple(body)
