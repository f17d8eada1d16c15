"""Collects what a group asks of the machine while its operators are lowered in turn."""

from collections.abc import Callable, Mapping
from typing import Any

from msgspec import Struct, field
from msgspec.structs import replace

from dnncc.isa import vector
from dnncc.targets import Target

from ..ir.graph import Graph, Node, Tensor
from ..ir.tile import Box, Dim
from .workload import PSUM_DTYPE, Access, StepSpec, Workload, scratchpad_dtype

OUT, SOURCE = "out", "source"

Use = tuple[str, str]
"""The role of an access, and the tensor that it then holds."""


class Builder(Struct):
    """Collects the Workload of one group while its nodes are lowered in turn."""

    graph: Graph
    target: Target
    group: Node
    dims: dict[str, int] = field(default_factory=dict)
    inputs: list[Access] = field(default_factory=list)
    inner: list[StepSpec] = field(default_factory=list)
    outer: list[StepSpec] = field(default_factory=list)
    psum: Access | None = None
    reduction: tuple[str, ...] = ()
    apart: tuple[str, ...] = ()
    """Loops that the steps which are added now, and what they read, are not in."""
    single: tuple[str, ...] = ()
    orders: tuple[tuple[str, ...], ...] = ()
    limits: dict[str, tuple[int, int]] = field(default_factory=dict)
    box: Box = ()
    space: Box = ()
    """What a region of vector steps covers: its result's box, or more that it folds."""
    temps: list[Access] = field(default_factory=list)
    sums: list[Access] = field(default_factory=list)
    gathers: tuple[str, ...] = ()
    """Loops over parts of a result's tile, beside those of sums."""
    held: dict[str, str] = field(default_factory=dict)
    """Which of `temps` holds a value that does not leave the group."""

    def tensor(self, name: str) -> Tensor:
        return self.graph.tensors[name]

    def read(self, role: str, name: str, box: Box, kind: str = "ifmap") -> tuple[str, str]:
        dtype = scratchpad_dtype(self.tensor(name).dtype, self.target)
        self.inputs.append(Access(role, name, box, kind, dtype, self.apart))
        return role, name

    def part(self, role: str, within: str, box: Box, tensor: str = "") -> Use:
        """Of a tile that is read, or held."""
        whole = next(a for a in (*self.inputs, *self.temps) if a.role == within)
        made = Access(role, tensor, box, whole.kind, whole.dtype, self.apart, within)
        self.temps.append(made)
        return role, ""

    def accumulate(self, box: Box) -> tuple[str, str]:
        self.psum = Access("psum", "", box, "psum", PSUM_DTYPE, self.reduction)
        return "psum", ""

    def gather(self, role: str, part: Box, loops: tuple[str, ...]) -> Use:
        """The result's tile is put together in these loops, of parts such as this one."""
        name, self.gathers = self.group.outputs[0], loops
        dtype = scratchpad_dtype(self.tensor(name).dtype, self.target)
        self.temps.append(Access(role, "", part, "ofmap", dtype, self.reduction, OUT))
        return role, name

    def substitute(self, images: Mapping[str, Dim]) -> None:
        """For loops of the boxes so far, ranges that are affine images of those to come."""

        def moved(access: Access) -> Access:
            return replace(access, box=tuple(d.substituted(images) for d in access.box))

        self.inputs, self.temps = [*map(moved, self.inputs)], [*map(moved, self.temps)]
        self.psum = moved(self.psum) if self.psum else None
        self.box = tuple(d.substituted(images) for d in self.box)

    def hold(self, role: str, name: str, whole: Box = (), ring: str = "") -> None:
        """The result so far, `name`, does not leave the group: it lies in a tile of its own; or is
        what an iteration adds to the tile `whole`, in a ring of rows along a loop."""
        dtype = scratchpad_dtype(self.tensor(name).dtype, self.target)
        tile = Access(role, "", whole or self.box, "ofmap", dtype, self.reduction, ring=ring)
        self.temps.append(tile)
        if ring:
            role, _ = self.part(f"{role}_made", role, self.box)
        self.outer = [
            replace(
                spec, uses={n: (role, t) if r == OUT else (r, t) for n, (r, t) in spec.uses.items()}
            )
            for spec in self.outer
        ]

    def prepare(self, name: str, source: str, box: Callable[[Box], Box]) -> dict[str, Use]:
        """Tiles of the input `name` are made from those of `source`, of the box under theirs: the
        operands of the step that does so."""
        place = next(i for i, access in enumerate(self.inputs) if access.tensor == name)
        access = self.inputs.pop(place)
        self.temps.append(replace(access, tensor=""))
        x = self.read(SOURCE, source, box(access.box))
        return {"x": x, "out": (access.role, name)}

    def finish(self) -> Workload:
        name = self.group.outputs[0]
        dtype = scratchpad_dtype(self.tensor(name).dtype, self.target)
        around = (*self.reduction, *self.gathers)
        result = Access(OUT, name, self.box, "ofmap", dtype, around)
        return Workload(
            self.dims,
            tuple(self.inputs),
            result,
            self.psum,
            tuple(self.inner),
            tuple(self.outer),
            self.reduction,
            self.single,
            tuple(self.temps),
            tuple(self.sums),
            self.orders,
            self.limits,
        )


def scalar_quant(tensor: Tensor) -> tuple[float, int]:
    quant = tensor.quant
    if quant is None:
        return 1.0, 0
    return float(quant.scale[0]), int(quant.zero[0])


def requantize(
    build: Builder,
    node: Node,
    axes: str,
    role: str = "params",
    channels: Dim | None = None,
    out: Use | None = None,
) -> None:
    """The last step, from psums to the node's result, or `out`, with the table of biases and scales
    of its `channels`, or those along axis k."""
    channels = channels or next(d for d, axis in zip(build.box, axes, strict=True) if axis == "k")
    uses = {"psum": ("psum", ""), "out": out or (OUT, node.outputs[0])}
    build.outer.append(requantizing(build, node, axes, channels, uses, role))


def requantizing(
    build: Builder,
    node: Node,
    axes: str,
    channels: Dim,
    uses: Mapping[str, tuple[str, str]],
    role: str,
) -> StepSpec:
    """From psums of `channels` to the node's result, as it `uses` them; the table is `role`."""
    words = build.tensor(node.attrs["params"]).shape[1]
    params = build.read(role, node.attrs["params"], (channels, Dim.whole(words)), "params")
    attrs = {
        "axes": axes,
        "zero": scalar_quant(build.tensor(node.outputs[0]))[1],
        "low": node.attrs["low"],
        "high": node.attrs["high"],
        "mode": MODES[words],
    }
    roles = {"psum": uses["psum"], "params": params, "out": uses["out"]}
    return StepSpec("requantize", roles, attrs, build.apart)


def with_residual(
    last: StepSpec, side: str, use: Use, out: str, numbers: Mapping[str, Any]
) -> StepSpec:
    """A requantising step and an operator on its result and another operand, whose role in it is
    `side`, as one: what is between them stays in the lanes."""
    own = {"zero": "x_zero", "low": "x_low", "high": "x_high"}
    attrs = {own.get(name, name): value for name, value in last.attrs.items()}
    uses = {**last.uses, "side": use, "out": (last.uses["out"][0], out)}
    return StepSpec("residual", uses, {**attrs, **numbers, "swapped": int(side == "a")}, last.apart)


def with_table(last: StepSpec, use: Use, out: str, first: int) -> StepSpec:
    """A step from psums whose result is looked up in a table."""
    uses = {**last.uses, "table": use, "out": (last.uses["out"][0], out)}
    return replace(last, uses=uses, attrs={**last.attrs, "first": first})


MODES = {words: mode for mode, words in vector.PARAM_WORDS.items()}
"""Of requantisation, by the words per channel of its table."""


def weight_zeros(
    build: Builder, node: Node, channels: Dim, role: str = "zeros"
) -> dict[str, tuple[str, str]]:
    if "zeros" not in node.attrs:
        return {}
    return {"zeros": build.read(role, node.attrs["zeros"], (channels,), "params")}


PLANE = ("n", "k", "p", "q")


def elementwise_box(build: Builder, shape: tuple[int, ...]) -> Box:
    """The whole of a tensor, its last dimensions n, k, p, q; an instruction takes one index of
    each dimension before these."""
    build.single = tuple(f"d{i}" for i in range(len(shape) - len(PLANE)))
    names = (*build.single, *PLANE)[-len(shape) :] if shape else ()
    build.dims |= {v: 1 for v in PLANE}
    build.dims |= dict(zip(names, shape, strict=True))
    return tuple(Dim(d, ((v, 1),)) for d, v in zip(shape, names, strict=True))


def broadcast_box(shape: tuple[int, ...], box: Box) -> Box:
    """The part of an operand that `box` of the result reads; a dimension of 1 is all read."""
    aligned = box[len(box) - len(shape) :]
    return tuple(d if n == d.bound else Dim.whole(n) for n, d in zip(shape, aligned, strict=True))


WINDOW_OF_ONE: Mapping[str, Any] = {
    "r": 1, "s": 1, "stride_y": 1, "stride_x": 1, "dilation_y": 1, "dilation_x": 1,
    "include_pad": 0, "x_zero": 0, "out_zero": 0, "x_scale": 1.0, "out_scale": 1.0,
    "low": -128, "high": 127,
}  # fmt: skip

RESULT_AXES = str.maketrans("hw", "pq")
"""From a pool's names of the axes of its operand to those of its result's."""
