"""What a user fixes of a node's mapping; the rest is searched."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from msgspec import Struct, field

from dnncc.targets import dataflow

from ..diagnostics import CompileError
from .rings import rolling

if TYPE_CHECKING:
    from .cost import Problem

KEYS = (
    "steps", "order", "whole", "ring", "slots", "array", "cascade", "attached", "carried", "beside",
)  # fmt: skip
MOVED_DIMENSIONS = 4
"""Of a block that one load brings."""


class Given(Struct, frozen=True):
    """Parts of the mapping of node `node`, from `source`, which errors name.

    A loop that an `order` leaves out has one iteration. `slots` are of buffers by role; those of
    the other buffers are `depth`, where that is not 0. `array` are parameters of the dataflow;
    `cascade` has the sizes of one that begins with the node: "layers", "slice" and "strip".
    `attached` nodes, this one and those that follow, are one: lanes that work for a convolution;
    with `carried`, which is 1 then, rows that windows of a pool share stay in a ring.
    Operands in `ring` are kept in rings of rows. The node works `beside` that of this name.
    """

    node: str = ""
    source: str = ""
    steps: Mapping[str, int] = field(default_factory=dict)
    order: tuple[str, ...] | None = None
    whole: tuple[str, ...] | None = None
    depth: int = 0
    slots: Mapping[str, int] = field(default_factory=dict)
    array: Mapping[str, int] = field(default_factory=dict)
    cascade: Mapping[str, int] = field(default_factory=dict)
    attached: int = 0
    carried: int = 0
    ring: tuple[str, ...] | None = None
    beside: str = ""

    def refusal(self, key: str, reason: str) -> CompileError:
        message = f"{key}: {reason}" if key else reason
        return CompileError(message, file=self.source or None, node=self.node)

    def step(self, var: str, extent: int) -> int | None:
        """Of a loop, if it is given."""
        if var in self.steps:
            return self.steps[var]
        return extent if self.order is not None and var not in self.order else None

    def table(self) -> dict[str, Any]:
        """As `of_table` takes it."""
        slots = dict(self.slots) or self.depth
        parts = {
            "steps": dict(self.steps),
            "order": self.order,
            "whole": self.whole,
            "ring": self.ring,
            "slots": slots,
            "array": dict(self.array),
            "cascade": dict(self.cascade),
            "attached": self.attached,
            "carried": self.carried,
            "beside": self.beside,
        }
        return {k: v for k, v in parts.items() if v or isinstance(v, tuple)}


ANY = Given()


def of_table(node: str, table: object, source: str) -> Given:
    """From what a file or a caller wrote. Raises CompileError."""
    blank = Given(node, source)
    if not isinstance(table, Mapping):
        raise blank.refusal("mapping", "must be a table")
    for key in table:
        if key not in KEYS:
            raise blank.refusal(str(key), f"unknown key; the keys are {', '.join(KEYS)}")
    slots = table.get("slots", {})
    alike = is_number(slots)
    return Given(
        node,
        source,
        steps=numbers(blank, "steps", table.get("steps", {})),
        order=names(blank, "order", table["order"]) if "order" in table else None,
        whole=names(blank, "whole", table["whole"]) if "whole" in table else None,
        depth=one(blank, "slots", slots) if alike else 0,
        slots={} if alike else numbers(blank, "slots", slots),
        array=numbers(blank, "array", table.get("array", {})),
        cascade=numbers(blank, "cascade", table.get("cascade", {})),
        attached=one(blank, "attached", table["attached"]) if "attached" in table else 0,
        carried=one(blank, "carried", table["carried"]) if "carried" in table else 0,
        ring=names(blank, "ring", table["ring"]) if "ring" in table else None,
        beside=name(blank, "beside", table.get("beside", "")),
    )


def is_number(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def one(blank: Given, key: str, value: Any) -> int:
    if not is_number(value) or value < 1:
        raise blank.refusal(key, "must be a whole number, at least 1")
    return int(value)


def numbers(blank: Given, key: str, table: object) -> dict[str, int]:
    if not isinstance(table, Mapping):
        raise blank.refusal(key, "must be a table of numbers by name")
    return {str(k): one(blank, f"{key}.{k}", v) for k, v in table.items()}


def names(blank: Given, key: str, value: object) -> tuple[str, ...]:
    if not isinstance(value, (list, tuple)) or not all(isinstance(v, str) for v in value):
        raise blank.refusal(key, "must be a list of names")
    for name in value:
        if value.count(name) > 1:
            raise blank.refusal(key, f"'{name}' is in it twice")
    return tuple(value)


def name(blank: Given, key: str, value: object) -> str:
    if not isinstance(value, str):
        raise blank.refusal(key, "must be the name of a node")
    return value


def check(problem: Problem) -> None:
    """Whether the node and its array have what is given. Raises CompileError, which says why not.

    Whether it fits the memories is seen when it is searched.
    """
    check_steps(problem)
    check_order(problem)
    check_operands(problem)
    check_ring(problem)
    check_array(problem)


def check_steps(problem: Problem) -> None:
    given, dims = problem.given, problem.load.dims
    for var, step in given.steps.items():
        if var not in dims:
            raise given.refusal(f"steps.{var}", f"no such loop; there are {', '.join(dims)}")
        least, most = problem.load.least(var), min(dims[var], problem.load.most(var))
        if not least <= step <= most:
            raise given.refusal(f"steps.{var}", f"{step} is not in {least}..{most}")
    together = given.step("g", dims.get("g", 1)) or 1
    for var in ("k", "c"):
        taken = given.step(var, dims.get(var, 1))
        if together > 1 and taken not in (None, dims[var]):
            why = f"a tile of {together} groups takes all {dims[var]} channels of each"
            raise given.refusal(f"steps.{var}", why)


def check_order(problem: Problem) -> None:
    given, load = problem.given, problem.load
    if given.order is None:
        return
    for var in given.order:
        if var not in load.dims:
            raise given.refusal("order", f"no loop '{var}'; there are {', '.join(load.dims)}")
    for var, extent in load.dims.items():
        if var not in given.order and given.steps.get(var, extent) < extent:
            raise given.refusal("order", f"loop '{var}' is missing, of which a tile takes a part")
        if var not in given.order and extent > load.most(var):
            raise given.refusal("order", f"loop '{var}' is missing, which no tile takes whole")
    fits = [[v for v in order if v in given.order] for order in load.orders]
    if load.orders and list(given.order) not in fits:
        legal = " or ".join(" ".join(order) for order in load.orders)
        raise given.refusal("order", f"its loops are in the order {legal}")
    inner = [var in load.reduction for var in given.order] if not load.orders else []
    if inner != sorted(inner):
        sums = ", ".join(load.reduction)
        raise given.refusal("order", f"sums must be innermost: {sums} after all others")


def check_operands(problem: Problem) -> None:
    given, load = problem.given, problem.load
    inputs = {a.role: a for a in load.inputs}
    for role in given.whole or ():
        if role not in inputs:
            known = ", ".join(inputs)
            raise given.refusal("whole", f"no operand '{role}' to load; there are {known}")
        if len(inputs[role].box) > MOVED_DIMENSIONS and problem.moves(inputs[role]):
            size = len(inputs[role].box)
            raise given.refusal("whole", f"'{role}' has {size} dimensions, too many for one load")
    roles = [a.role for a in load.accesses() if not a.within]
    for role in given.slots:
        if role not in roles:
            raise given.refusal(f"slots.{role}", f"no such buffer; there are {', '.join(roles)}")


def check_ring(problem: Problem) -> None:
    given, load = problem.given, problem.load
    for role in given.ring or ():
        found = rolling(load)
        if found is None or found.access.role != role:
            raise given.refusal("ring", f"'{role}' is no ifmap of which tiles share rows")
        if not problem.moves(found.access):
            raise given.refusal("ring", f"'{role}' lies in a scratchpad, none of it is loaded")
        if role in (given.whole or ()):
            raise given.refusal("ring", f"'{role}' is loaded whole")
        if given.step(found.var, load.dims[found.var]) == load.dims[found.var]:
            raise given.refusal("ring", f"a tile takes all of {found.var}, and no other follows")
        inside = found.inside(given.order) if given.order else load.reduction
        for var in found.access.variables().intersection(inside):
            if given.step(var, load.dims[var]) not in (None, load.dims[var]):
                why = f"the ifmap changes with {var}, in a loop inside of that over {found.var}"
                raise given.refusal("ring", why)


def check_array(problem: Problem) -> None:
    given, known = problem.given, dataflow.model(problem.target).PARAMETERS
    for name, value in given.array.items():
        if name not in known:
            flow = problem.target.dataflow
            why = f"no parameter of {flow}; there are {', '.join(known)}"
            raise given.refusal(f"array.{name}", why)
        if value > dataflow.LARGEST:
            raise given.refusal(f"array.{name}", f"{value} is not in 1..{dataflow.LARGEST}")
    if given.array and len(problem.load.on_array()) != 1:
        number = "several steps" if problem.load.inner else "no step"
        raise given.refusal("array", f"the node has {number} on the PE array")
