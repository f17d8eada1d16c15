"""What every pass may consult: the target, how hard to search, and how long."""

from __future__ import annotations

import time
from collections.abc import Mapping
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec import Struct, field

from ..diagnostics import CompileError

if TYPE_CHECKING:
    from dnncc.targets import Target

    from ..ir.graph import Node
    from ..mapping.asking import Known
    from ..mapping.given import Given
    from ..mapping.search import Found


class Budget(Struct, frozen=True):
    """`seconds` from `start`, a reading of time.monotonic."""

    seconds: float = inf
    start: float = 0.0

    @classmethod
    def of(cls, seconds: float) -> Budget:
        return cls(seconds, time.monotonic())

    def check(self, where: str, node: str | None = None) -> None:
        """Raises CompileError, which says how far it came, when the time is up."""
        if time.monotonic() - self.start > self.seconds:
            raise CompileError(
                f"the budget of {self.seconds:g} s is used up in {where}",
                node=node,
                hint="give a larger --budget, or a lower -O",
            )


class Context(Struct, frozen=True, eq=False):
    """`effort` is the level of -O: 0 takes what comes first, 3 looks at the most candidates; `goal`
    is what they are to make small.

    `mapping` is what is given of the mappings of nodes, by their names. `cache` is the folder with
    the mappings that earlier compilations chose, if there is to be one; `searched` has those that
    this one found, by their problems, as networks repeat their blocks; `known` what it has asked
    the array's model. `refused` are the ONNX nodes that turned out not to fit the target, and why:
    they stay with the host.
    """

    target: Target | None = None
    effort: int = 2
    budget: Budget = Budget()
    mapping: Mapping[str, Given] = field(default_factory=dict)
    cache: Path | None = None
    goal: str = "latency"
    searched: dict[Any, Found] = field(default_factory=dict)
    known: Known = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)

    def refusal(self, node: Node) -> str | None:
        """Why the accelerator is not to take it."""
        return next((self.refused[name] for name in node.loc if name in self.refused), None)


def target_of(ctx: Context) -> Target:
    """The target; passes from place_buffers on cannot do without one."""
    if ctx.target is None:
        raise ValueError("this pass needs a target")
    return ctx.target
