"""Closed forms against the model of the PEs, for any dataflow, on random operands."""

from typing import Any

import numpy as np
import numpy.typing as npt
from hypothesis import strategies as st

from dnncc.targets import Target, dataflow

Ints = npt.NDArray[np.int64]


OF_SYSTOLIC_ARRAYS = st.fixed_dictionaries(
    {
        "accumulate": st.integers(0, 1),
        **{name: st.integers(1, 2) for name in ("n", "stride_y", "stride_x", "dilation_x")},
        **{name: st.integers(1, 3) for name in ("p", "q", "r", "s", "c", "dilation_y")},
        **{name: st.integers(1, 5) for name in ("k", "g")},
    }
)
"""Sizes of small tiles whose edges are smaller than the array."""


def row(*params: int) -> Ints:
    """Mapping parameters of one tile."""
    return np.array(params, np.int64)


def check(
    flow: Any, simulate: Any, target: Target, work: dataflow.Work, params: Ints, seed: int
) -> None:
    """Values, cycles and all counts of `simulate` are those of a convolution and of `flow`."""
    rng = np.random.default_rng(seed)
    n, g, k, c, p, q, r, s = (int(getattr(work, name)) for name in "ngkcpqrs")
    ifmap = rng.integers(-128, 128, (n, g, c, int(work.h), int(work.w)))
    weight = rng.integers(-128, 128, (g, k, c, r, s))
    psum = rng.integers(-1000, 1000, (n, g, k, p, q))
    wanted = convolve(work, ifmap, weight) + (psum if work.accumulate else 0)
    cycles, counts = simulate(target, work, params, ifmap, weight, psum)
    assert np.array_equal(psum, wanted)
    assert cycles == flow.cycles(target, work, params)
    assert cycles == flow.phases(target, work, params).cycles
    assert counts == flow.accesses(target, work, params)


def convolve(work: dataflow.Work, ifmap: Ints, weight: Ints) -> Ints:
    """Int64 [n, g, k, p, q] of ifmap [n, g, c, h, w] and weight [g, k, c, r, s]."""
    p, q = np.arange(int(work.p)) * work.stride_y, np.arange(int(work.q)) * work.stride_x
    total: Any = 0
    for r, s in np.ndindex(weight.shape[3:]):
        tap = ifmap[:, :, :, p + r * work.dilation_y][..., q + s * work.dilation_x]
        total += np.einsum("ngcpq,gkc->ngkpq", tap, weight[..., r, s])
    return np.asarray(total)
