"""What every pass may consult: the target, and the user's options."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dnncc.targets import Target


@dataclass(frozen=True, slots=True)
class Context:
    target: Target | None = None
    options: Mapping[str, Any] = field(default_factory=dict)


def target_of(ctx: Context) -> Target:
    """The target; passes from place_buffers on cannot do without one."""
    if ctx.target is None:
        raise ValueError("this pass needs a target")
    return ctx.target
