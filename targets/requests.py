"""How far ahead of its data a DMA engine may ask DRAM: which bursts have to have come first."""

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]


def window(bursts: Ints, cycles: Ints, most: int) -> tuple[Ints, Ints]:
    """Per transfer of an engine, in order, the transfer whose data make room for its first request
    (-1: there is room), and how many cycles before that one's end the last burst needed has come.

    Bursts are numbered through all transfers; with `most` under way, burst b is asked for when
    burst b - most has come. Bursts of a transfer come evenly, in its `cycles`.
    """
    ends = np.cumsum(bursts)
    oldest = ends - bursts - most
    at = np.searchsorted(ends, oldest, side="right")
    later = ends[at] - 1 - oldest
    return np.where(oldest >= 0, at, -1), later * cycles[at] // bursts[at]
