"""Where the steps of a nest stand that works beside the one before it.

What it reads, that one stores tile by tile. Each of its loads stands behind the last store of a
byte that it reads; from there on its steps are spread evenly, up to where more has been stored.
"""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import numpy.typing as npt
from msgspec.structs import replace

from ..ir.graph import Graph
from ..ir.tile import Load, Operand, Store, Unrolled

Ints = npt.NDArray[np.int64]
Places = npt.NDArray[np.float64]


def beside(
    items: Sequence[Unrolled], before: Sequence[Unrolled], graph: Graph
) -> Iterator[Unrolled]:
    """The steps of a nest, with their places among those of the nest `before` it."""
    stores = [item for item in before if isinstance(item.step, Store)]
    end = 1 + max(float(np.max(item.order)) for item in before)
    loads = [item for item in items if isinstance(item.step, Load)]
    order = np.concatenate([np.zeros(1), *(load.order for load in loads)])
    ready = np.concatenate([np.zeros(1), *(released(load, stores, graph) for load in loads)])
    rank = np.argsort(order, kind="stable")
    begin, ready = order[rank], np.maximum.accumulate(ready[rank])
    last = 1 + max(float(np.max(item.order)) for item in items)
    for item in items:
        yield replace(item, order=spread(item.order, begin, ready, last, end))


def spread(order: Places, begin: Places, ready: Places, last: float, end: float) -> Places:
    """Steps from `begin` on stand at `ready` or behind; `last` and `end` are those of the nests."""
    first = np.flatnonzero(np.diff(ready, prepend=-1.0) > 0)
    begins, places = np.append(begin[first], last), np.append(ready[first], max(end, ready[-1]) + 1)
    part = np.maximum(np.searchsorted(begins, order, side="right") - 1, 0)
    part = np.minimum(part, len(first) - 1)
    share = (order - begins[part]) / (begins[part + 1] - begins[part])
    return np.asarray(places[part] + share * (places[part + 1] - places[part]))


def released(load: Unrolled, stores: Iterable[Unrolled], graph: Graph) -> Places:
    """For each iteration the place behind the last store of what it reads; 0 if none does. Hazards
    are looked for in ranges of bytes, which tiles of the same rows have in common: so it is one of
    rows that are all done."""
    assert isinstance(load.step, Load)
    found = np.zeros(len(load.order))
    if load.step.out.tensor in graph.constants:
        return found
    low, high, root = reach(load.step.out, load, graph)
    for store in stores:
        assert isinstance(store.step, Store)
        begin, end, other = reach(store.step.source, store, graph)
        if other != root:
            continue
        outer = next((v for v in store.step.source.slots if store.env[v].trips > 1), "")
        index = store.env[outer].index if outer else np.zeros(len(begin), np.int64)
        for block in np.unique(index):
            rows = index == block
            meet = (low < end[rows].max()) & (begin[rows].min() < high)
            found = np.maximum(found, np.where(meet, store.order[rows].max() + 1, 0))
    return found


def reach(operand: Operand, item: Unrolled, graph: Graph) -> tuple[Ints, Ints, str]:
    """From the first element to behind the last that each iteration moves, and of which storage."""
    view = graph.tensors[operand.tensor].view
    assert view is not None
    extents = [dim.range(item.env) for dim in operand.buffered()]
    both = list(zip(extents, view.strides, strict=True))
    zero = view.offset + np.zeros(len(item.order), np.int64)
    low = zero + sum(extent.low * stride for extent, stride in both)
    high = zero + sum((extent.high - 1) * stride for extent, stride in both) + 1
    return low, high, view.root
