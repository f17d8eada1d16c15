"""The rows that were measured, a line of JSON each, so that an interrupted run goes on."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

Key = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Results:
    """Kept in `path`, or not at all. The first cells of a row are its key."""

    path: Path | None

    def known(self, key: Key) -> tuple[list[str], bool] | None:
        """The latest row of that key that was right: what was wrong is measured again."""
        if self.path is None or not self.path.is_file():
            return None
        found = [json.loads(line) for line in self.path.read_text().splitlines()]
        rows = [
            (r["row"], True) for r in found if r["right"] and tuple(r["row"][: len(key)]) == key
        ]
        return rows[-1] if rows else None

    def add(self, row: Sequence[str], right: bool) -> None:
        if self.path is not None:
            with self.path.open("a") as file:
                file.write(json.dumps({"row": list(row), "right": right}) + "\n")
