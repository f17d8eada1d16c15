"""What a user can ask of a compilation."""

from __future__ import annotations

from collections.abc import Mapping
from math import inf
from os import PathLike
from typing import TYPE_CHECKING, Any

from msgspec import Struct, field

from .levels import DEFAULT_LEVEL, GOALS, OMITTED, PRECISIONS

if TYPE_CHECKING:  # it imports what tells mappings
    from .mapping.given import Given

Data = str | PathLike[str] | Mapping[str, Any]
"""A file or folder of samples, or the arrays."""


class Options(Struct, frozen=True):
    """`target` is a name or the path of a TOML file; `shapes` fixes dynamic inputs, by name.

    `disabled` names passes to leave out; of those that can be left out, only the first
    `bisect_limit` run. `budget` is in seconds. A float model is quantised to `precision`, with the
    ranges that the samples in `calibrate` reach. `mapping` is what is given of the mappings of
    nodes; those that are searched are to make the `goal` small, one of GOALS, and are kept in the
    user's `cache` folder.
    """

    target: str = "eyeriss-like"
    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    strict: bool = False
    verify: bool = True
    level: int = DEFAULT_LEVEL
    goal: str = "latency"
    disabled: tuple[str, ...] = ()
    bisect_limit: int | None = None
    budget: float = inf
    calibrate: Data | None = None
    precision: str = PRECISIONS[0]
    mapping: Mapping[str, Given] = field(default_factory=dict)
    cache: bool = True

    @property
    def omitted(self) -> frozenset[str]:
        """The passes that do not run."""
        return frozenset((*OMITTED[self.level], *self.disabled))

    def record(self) -> dict[str, Any]:
        """What the binary notes of them: all that its bytes depend on beside model and target.

        Mappings are not noted: given or found, the same ones make the same binary.
        """
        noted: dict[str, Any] = {"shapes": {k: list(v) for k, v in sorted(self.shapes.items())}}
        if self.level != DEFAULT_LEVEL:
            noted["level"] = self.level
        if self.goal != GOALS[0]:
            noted["goal"] = self.goal
        if self.disabled:
            noted["disabled"] = sorted(set(self.disabled))
        if self.precision != PRECISIONS[0]:
            noted["precision"] = self.precision
        if self.bisect_limit is not None:
            noted["bisect_limit"] = self.bisect_limit
        return noted
