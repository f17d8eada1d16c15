"""Energy: counted accesses at each level, times what the target's table says one costs."""

import numpy as np
import numpy.typing as npt

from dnncc.targets import Target
from dnncc.targets.energy import LEVELS

from .attribution import per_node
from .pricing import Prices

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


def accesses(priced: Prices, rows: Ints, nodes: int) -> Ints:
    """Operand words int64[nodes, LEVELS]; `rows` is each instruction's node."""
    columns = [per_node(rows, priced.accesses(level), nodes) for level in LEVELS]
    return np.stack(columns, axis=1)


def energies(counted: Ints, target: Target) -> Floats:
    """Energy in the target's unit, of the same shape as `counted`, whose last axis is LEVELS."""
    table = np.array([getattr(target.energy, level) for level in LEVELS])
    return np.asarray(counted * table)
