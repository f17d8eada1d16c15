"""A mapping: how the loops of one group are tiled, ordered and buffered."""

from collections.abc import Mapping as Dict
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Mapping:
    """`steps`: indices per tile and loop variable. `order`: the loops, outermost first.

    Operands in `resident` are loaded whole, before the loops; `slots` counts the tiles that the
    buffer of a role has room for.
    """

    steps: Dict[str, int]
    order: tuple[str, ...]
    resident: tuple[str, ...]
    slots: Dict[str, int]

    def to_attr(self) -> dict[str, Any]:
        return {
            "steps": dict(self.steps),
            "order": self.order,
            "resident": self.resident,
            "slots": dict(self.slots),
        }

    @classmethod
    def from_attr(cls, attr: Dict[str, Any]) -> "Mapping":
        return cls(attr["steps"], tuple(attr["order"]), tuple(attr["resident"]), attr["slots"])
