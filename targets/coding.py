"""What zeros among the values save: gated MACs, and run-length-coded feature maps in DRAM.

Both are counted from real values, for energy and traffic; neither saves a cycle on Eyeriss (Chen et
al., JSSC 52(1), 2017), whose scheme this is. "Zero" is the value's zero point.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from .dataflow.work import Ints, Work

Values = npt.NDArray[Any]

RUN_BITS = 5
WORD_BITS = 64
LAST_BITS = 1
"""A word of the code has as many (run of zeros, level) pairs as fit beside the flag of the last
word: three of 5 + 16 bits in the chip."""


def rlc_bytes(values: Values, zero: int = 0, level_bits: int = 16) -> Ints:
    """Bytes of the code of each row of `values` [..., length], int64 [...].

    A pair is a run of up to 31 zeros and the value after it; a longer run has a zero as the value
    after its first 31, and so has the run at the end of a row.
    """
    pairs_per_word = (WORD_BITS - LAST_BITS) // (RUN_BITS + level_bits)
    words = -(-rlc_pairs(values != zero) // pairs_per_word)
    return np.asarray(words * (WORD_BITS // 8))


def rlc_pairs(nonzero: npt.NDArray[np.bool_]) -> Ints:
    """Pairs that code each row of [..., length], int64 [...]."""
    longest = 1 << RUN_BITS  # zeros that a pair with a zero level stands for
    length = nonzero.shape[-1]
    places = np.where(nonzero, np.arange(length), -1)
    start = np.full((*places.shape[:-1], 1), -1)
    before = np.concatenate((start, np.maximum.accumulate(places, axis=-1)), axis=-1)
    runs = np.arange(length) - before[..., :-1] - 1
    inside = (nonzero * (1 + runs // longest)).sum(axis=-1)
    return np.asarray(inside - -(length - 1 - before[..., -1]) // longest)


def zero_macs(work: Work, ifmap: Values, zero: int = 0, padding: tuple[int, int] = (0, 0)) -> int:
    """MACs of one tile whose ifmap operand is zero, padding included.

    `ifmap` [n, g, c, rows, columns] is what lies in the memory; above and left of it are `padding`
    rows and columns that do not.
    """
    rows = uses(ifmap.shape[3], padding[0], work.p, work.stride_y, work.r, work.dilation_y)
    cols = uses(ifmap.shape[4], padding[1], work.q, work.stride_x, work.s, work.dilation_x)
    nonzero = (ifmap != zero).sum(axis=(0, 1, 2))
    return int(work.macs()) - int(work.k) * int(rows @ nonzero @ cols)


def uses(length: int, before: int, outputs: Ints, stride: Ints, taps: Ints, dilation: Ints) -> Ints:
    """How many (output, tap) pairs read each of `length` inputs, int64 [length]."""
    starts = np.arange(int(outputs))[:, None] * stride - before
    places = (starts + np.arange(int(taps)) * dilation).ravel()
    inside = places[(places >= 0) & (places < length)]
    return np.bincount(inside, minlength=length)


def gated(counts: dict[str, Ints], zeros: Any) -> dict[str, Ints]:
    """The `accesses` of tiles with so many zero MACs, on an array that gates them.

    A PE that finds a zero neither reads its filter scratchpad nor multiplies; its ifmap and its
    psum are read as ever. Where weights are not in the PEs, there is no read to save.
    """
    kept = np.asarray(counts["rf_weight"]) - np.where(counts["rf_weight"] > 0, zeros, 0)
    return counts | {"mac": counts["mac"] - zeros, "rf_weight": kept}
