"""What a group of the graph asks of the machine, before any tiling: its loops, what each operand
touches of its tensor per iteration, and the steps in the innermost loops and after them."""

from collections.abc import Mapping
from functools import cached_property
from typing import Any

import numpy as np
from msgspec import Struct, field
from msgspec.structs import replace

from dnncc.targets import Target

from ..ir.tile import Box

PSUM_DTYPE = np.dtype(np.int32)
SHORTER: dict[np.dtype[Any], np.dtype[Any]] = {
    np.dtype(np.int64): np.dtype(np.int32),
    np.dtype(bool): np.dtype(np.uint8),
}
LARGEST_FIELD = 65535
LARGEST_BATCH = 255


class Access(Struct, frozen=True):
    """An operand: the `box` that an iteration touches of `tensor`, held in a scratchpad as `dtype`.

    `kind` ("ifmap", "weight", "params", "psum", "ofmap") says in which scratchpad. Psums are not a
    tensor of the graph: their tensor is "". It stays what it is over the loops in `apart`. With
    `within` it has no buffer of its own, but is a part of what the access of that role holds. What
    goes on along the loop `ring` stays in a ring of rows: those that two tiles add.
    """

    role: str
    tensor: str
    box: Box
    kind: str
    dtype: np.dtype[Any]
    apart: tuple[str, ...] = ()
    within: str = ""
    ring: str = ""

    def variables(self) -> frozenset[str]:
        return frozenset(var for dim in self.box for var, _ in dim.terms)

    def tile_shape(self, steps: Mapping[str, Any]) -> tuple[Any, ...]:
        """The largest tile, in elements per dimension, for loop steps that may be arrays."""
        return tuple(d.largest(steps) for d in self.box)

    def held_shape(self, steps: Mapping[str, Any]) -> tuple[Any, ...]:
        """What its buffer has room for: a tile, or a ring."""
        rows = [dict(d.terms).get(self.ring, 0) for d in self.box]
        tile = self.tile_shape(steps)
        pairs = zip(rows, tile, strict=True)
        return tuple(2 * new * steps[self.ring] if new else size for new, size in pairs)


class StepSpec(Struct, frozen=True):
    """A step in terms of roles: `uses` maps what the instruction calls an operand to the access
    that holds it and the tensor that it then holds (a chain of steps may work in one buffer).

    It is in all loops but those in `apart`.
    """

    op: str
    uses: Mapping[str, tuple[str, str]]
    attrs: Mapping[str, Any] = field(default_factory=dict)
    apart: tuple[str, ...] = ()

    @property
    def stages(self) -> int:
        """Of the lanes' pipeline: psums may be combined, and looked up, behind their scaling."""
        return 1 + sum("psum" in self.uses and name in self.uses for name in ("side", "table"))


class Workload(Struct, frozen=True, dict=True):
    """`inner` steps run in every iteration; `outer` ones when the loops of `reduction` are done.

    A tile takes one index of the loops in `single`. `temps` hold what steps hand to each other, and
    `sums` are psums of steps on the array before the last. Only the loop orders in `orders` are
    legal, if there are any, and tiles of `limits` indices of a loop, (least, most), where these are
    given.
    """

    dims: Mapping[str, int]
    inputs: tuple[Access, ...]
    result: Access
    psum: Access | None = None
    inner: tuple[StepSpec, ...] = ()
    outer: tuple[StepSpec, ...] = ()
    reduction: tuple[str, ...] = ()
    single: tuple[str, ...] = ()
    temps: tuple[Access, ...] = ()
    sums: tuple[Access, ...] = ()
    orders: tuple[tuple[str, ...], ...] = ()
    limits: Mapping[str, tuple[int, int]] = field(default_factory=dict)

    def accesses(self) -> tuple[Access, ...]:
        return self.every

    @cached_property
    def every(self) -> tuple[Access, ...]:
        psum = (self.psum,) if self.psum else ()
        return (*self.inputs, *psum, *self.sums, *self.temps, self.result)

    @cached_property
    def held(self) -> dict[str, Access]:
        """By role."""
        return {a.role: a for a in self.every}

    @cached_property
    def inside(self) -> frozenset[str]:
        """The roles of what steps in every iteration work on."""
        return frozenset(role for spec in self.inner for role, _ in spec.uses.values())

    def steps(self) -> tuple[StepSpec, ...]:
        """In program order, each with the loops that it is not in."""
        after = (replace(spec, apart=self.reduction) for spec in self.outer)
        return (*self.inner, *after)

    def gathered(self) -> bool:
        """Whether a tile of the result has room for what steps on the array are still to make."""
        return self.result.apart != self.reduction

    def is_last(self, access: Access) -> bool:
        """Whether it holds the sums over slices of a cascade, or is used when these are done."""
        return bool(self.sums) and "slice" in access.apart

    @cached_property
    def joining(self) -> frozenset[str]:
        """Maps that are needed when sums are done, and not before."""
        parts = {a.role: a.within or a.role for a in self.accesses()}
        used = {parts[role] for spec in self.inner for role, _ in spec.uses.values()}
        maps = {a.role for a in self.inputs if a.kind == "ifmap"}
        return frozenset(maps - used if used else ())

    def on_array(self) -> tuple[StepSpec, ...]:
        return tuple(spec for spec in self.inner if spec.op == "tensor")

    def prepared(self, spec: StepSpec) -> Access | None:
        """What a step makes of an input for a later one: again when that is another one."""
        made = self.used(spec).get("out")
        return made if made in self.temps and made.kind == "ifmap" else None

    def used(self, spec: StepSpec) -> dict[str, Access]:
        """What a step works on, by the names of its instruction."""
        return {name: self.held[role] for name, (role, _) in spec.uses.items()}

    def summed(self, spec: StepSpec) -> tuple[str, ...]:
        """The loops over which a step on the array adds to its psums."""
        stays = self.used(spec)["psum"].apart
        return tuple(v for v in self.dims if v in stays and v not in spec.apart)

    def least(self, var: str) -> int:
        """The least indices of a loop that one instruction takes, but for the last one."""
        return self.limits[var][0] if var in self.limits else 1

    def most(self, var: str) -> int:
        """The most indices of a loop that one instruction takes."""
        if var in self.single:
            return 1
        if var in self.limits:
            return self.limits[var][1]
        return LARGEST_BATCH if var == "n" else LARGEST_FIELD


def scratchpad_dtype(dtype: np.dtype[Any], target: Target) -> np.dtype[Any]:
    """How elements of a DRAM dtype lie in a scratchpad: bytes widen where operands are 16 bits, and
    int64 is int32 there."""
    if dtype.itemsize == 1 and target.datapath.operand_bytes == 2:
        return np.dtype(np.int16)
    return SHORTER[dtype] if dtype in SHORTER else np.dtype(dtype)
