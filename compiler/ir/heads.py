"""Where the head of a map ends, that part of it which stays on chip, in terms of tiles.

A head is the first elements of a storage: planes where maps are stored as planes, rows where rows
are outermost. So what of a tensor lies in it are the first indices of the tensor's outermost
dimension, and the tiles in it come first in one loop.
"""

from collections.abc import Iterator, Mapping

from msgspec import Struct

from .graph import Tensor
from .tile import Dim


class Cut(Struct, frozen=True):
    """Iterations of the loop over `var` up to index `stop`."""

    var: str
    stop: int


ALL = Cut("", 0)
"""Not a loop is cut: all iterations of all loops."""


def outermost(tensor: Tensor) -> int:
    """The dimension that is outermost in storage, of those with several indices."""
    strides = tensor.view.strides if tensor.view else ()
    return max(range(len(strides)), key=lambda i: (tensor.shape[i] > 1, strides[i]))


def step(tensor: Tensor) -> int:
    """Elements from one index of the outermost dimension to the next."""
    return tensor.view.strides[outermost(tensor)] if tensor.view else 1


def span(tensor: Tensor) -> int:
    """Elements from the first to the last of one index of the outermost dimension."""
    strides, axis = tensor.view.strides if tensor.view else (), outermost(tensor)
    steps = enumerate(zip(tensor.shape, strides, strict=True))
    return 1 + sum((n - 1) * s for i, (n, s) in steps if i != axis)


def element(tensor: Tensor, index: int) -> int:
    """Where in its storage an index of a tensor's outermost dimension begins."""
    return (tensor.view.offset if tensor.view else 0) + index * step(tensor)


def leading(tensor: Tensor, elements: int) -> int:
    """Indices of the outermost dimension that lie in the first `elements` of the storage."""
    count = (elements - element(tensor, 0) - span(tensor)) // step(tensor) + 1
    return min(max(count, 0), tensor.shape[outermost(tensor)])


def is_regular(tensor: Tensor) -> bool:
    """Whether indices of the outermost dimension lie one behind the other, in whole steps from the
    beginning of the storage, and those of the innermost one are next to each other."""
    strides = tensor.view.strides if tensor.view else ()
    inner = [s for n, s in zip(tensor.shape, strides, strict=True) if n > 1] if strides else []
    if not tensor.size or not inner or min(inner) != 1:
        return False
    return span(tensor) <= step(tensor) and element(tensor, 0) % step(tensor) == 0


def cut(
    tensor: Tensor, box: tuple[Dim, ...], elements: int, dims: Mapping[str, int],
    steps: Mapping[str, int],
) -> Cut | None:  # fmt: skip
    """Of the tiles `box` of a tensor, those in the first `elements` of its storage; None where
    there is none. `dims` and `steps` are of the loops around."""
    axis, count = outermost(tensor), leading(tensor, elements)
    if count == tensor.shape[axis]:
        return ALL
    found = stops(box[axis], count, dims, steps)
    return max(found, key=lambda one: one.stop, default=None)


def stops(dim: Dim, count: int, dims: Mapping[str, int], steps: Mapping[str, int]) -> Iterator[Cut]:
    """The tiles in the first `count` indices of a dimension, by each loop that it depends on, in
    all iterations of the others."""
    for var, scale in dim.terms:
        others = sum(s * (dims[v] - 1) for v, s in dim.terms if v != var)
        rest = dim.offset + dim.extent + others
        most = (count - rest) // scale + 1
        stop = dims[var] if most >= dims[var] else most // steps[var] * steps[var]
        if stop > 0:
            yield Cut(var, stop)


def behind(tensor: Tensor, box: tuple[Dim, ...], at: Cut | None, dims: Mapping[str, int]) -> int:
    """The first element of its storage that a tile touches which is not before the cut; what lies
    behind the tensor where there is no such tile."""
    if at is None:
        return element(tensor, 0)
    if at == ALL or at.stop == dims[at.var]:
        return element(tensor, tensor.shape[outermost(tensor)])
    dim = box[outermost(tensor)]
    low = dim.offset + dict(dim.terms)[at.var] * at.stop
    return element(tensor, min(max(low, 0), dim.bound - 1))
