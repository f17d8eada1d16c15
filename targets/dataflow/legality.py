"""Rules of mapping parameters, each with what is said where it is broken.

A dataflow yields its rules for many tiles at once; from them come both whether parameters are legal
and why those of one tile are not.
"""

from collections.abc import Iterable, Iterator
from functools import reduce

import numpy as np

from .candidates import LARGEST
from .work import Bools, Ints, Work

Rules = Iterator[tuple[Bools, str]]


def sound(work: Work, names: Iterable[str], params: Iterable[Ints]) -> Rules:
    """What all dataflows ask: a tile that is not empty, parameters that fit an instruction."""
    yield work.is_valid(), "the tile is empty"
    for name, value in zip(names, params, strict=True):
        yield (value >= 1) & (value <= LARGEST), f"{name} is not in 1..{LARGEST}"


def all_kept(rules: Rules) -> Bools:
    """Where no rule is broken: bool [...]."""
    return reduce(np.logical_and, (fits for fits, _ in rules))


def first_broken(rules: Rules) -> str:
    """Of one tile, or ""."""
    return next((why for fits, why in rules if not fits), "")
