"""A mapping: how the loops of one group are tiled, ordered and buffered."""

from collections.abc import Mapping as Dict
from typing import Any

from msgspec import Struct, field


class Mapping(Struct, frozen=True):
    """`steps`: indices per tile and loop variable. `order`: the loops, outermost first.

    Operands in `resident` are loaded whole, before the loops; `slots` counts the tiles that the
    buffer of a role has room for. Of an operand in `ring`, which is kept in a ring of rows, slots
    count new rows. `array` are the dataflow's parameters that are given, by name; the others are
    chosen per tile.
    """

    steps: Dict[str, int]
    order: tuple[str, ...]
    resident: tuple[str, ...]
    slots: Dict[str, int]
    array: Dict[str, int] = field(default_factory=dict)
    ring: tuple[str, ...] = ()

    def to_attr(self) -> dict[str, Any]:
        attr: dict[str, Any] = {
            "steps": dict(self.steps),
            "order": self.order,
            "resident": self.resident,
            "slots": dict(self.slots),
        }
        more = {"ring": self.ring, "parameters": dict(self.array)}
        return attr | {name: value for name, value in more.items() if value}

    @classmethod
    def from_attr(cls, attr: Dict[str, Any]) -> "Mapping":
        order, whole = tuple(attr["order"]), tuple(attr["resident"])
        array, ring = attr.get("parameters", {}), tuple(attr.get("ring", ()))
        return cls(attr["steps"], order, whole, attr["slots"], array, ring)


class Priced(Struct, frozen=True):
    """A mapping, and the cycles that it is estimated to take."""

    mapping: Mapping
    cycles: int
