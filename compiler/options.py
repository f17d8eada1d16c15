"""What a user can ask of a compilation."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Options:
    """`target` is a name or the path of a TOML file; `shapes` fixes dynamic inputs, by name."""

    target: str = "eyeriss-like"
    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    strict: bool = False
    verify: bool = True

    def record(self) -> dict[str, Any]:
        """What the binary notes of them: all that its bytes depend on beside model and target."""
        return {"shapes": {k: list(v) for k, v in sorted(self.shapes.items())}}
