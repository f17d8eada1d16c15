"""Different values of an array."""

from typing import Any

import numpy as np
import numpy.typing as npt


def distinct(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The different values, sorted, in one dimension.

    np.unique, asked for no more than this, loads numpy.ma: that takes longer than to run a small
    program.
    """
    ordered = np.sort(values, axis=None)
    new = np.ones(len(ordered), np.bool_)
    new[1:] = ordered[1:] != ordered[:-1]
    return ordered[new]
