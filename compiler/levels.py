"""What options may be: the levels of -O, the goals and the precisions."""

from __future__ import annotations

OMITTED: tuple[tuple[str, ...], ...] = (
    ("fuse", "reorder_ops", "cascade", "place_buffers", "keep_parts"),
    ("reorder_ops", "cascade", "place_buffers", "keep_parts"),
    (),
    (),
)
"""Passes that each -O level leaves out; the level also says how many mappings are priced."""

DEFAULT_LEVEL = 2
GOALS = ("latency", "energy", "edp")
PRECISIONS = ("auto", "int8", "int16", "float")
