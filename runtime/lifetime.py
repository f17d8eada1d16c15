"""When the bytes of a tensor are its own: memory is used again, so a tensor is there for a time."""

import re
from typing import NamedTuple

import numpy as np

from dnncc.isa import image as images

from .accesses import Accesses, Ints, joined, of_places, of_symbol
from .errors import RunError
from .hazards import common_byte, meet

ELEMENT = re.compile(r"(?P<name>.+)\[(?P<index>[\d,\s]*)\]", re.DOTALL)


class Element(NamedTuple):
    """An element of a tensor, and the bytes [start, stop) that it takes in `symbol.memory`; of a
    tensor in two places, the symbol is that of the part in which it is."""

    symbol: images.Symbol
    indices: tuple[int, ...]
    start: int
    stop: int


def life(symbol: images.Symbol, image: images.Image, count: int) -> tuple[int, int]:
    """First and last instruction for which the tensor's bytes are its own; all instructions where
    the binary does not say."""
    units = image.debug.units if image.debug else ()
    for unit in (u for u in units if symbol.name in u.tensors):
        return unit.first, unit.last
    return 0, count - 1


def touching(found: Accesses, symbol: images.Symbol, span: tuple[int, int]) -> Ints:
    """The rows of Accesses, of instructions first..last, that touch a tensor's bytes."""
    if symbol.head is not None:
        return np.unique(np.concatenate([touching(found, s, span) for s in symbol.parts()]))
    first, last = found.first_rows([span[0], span[1] + 1])
    rows = np.arange(first, last)
    if symbol.stop <= symbol.address:  # it has no elements
        return rows[:0]
    both = joined([found.take(rows), of_places([of_symbol(span[1], False, symbol)], span[1] + 1)])
    own = np.full(len(rows), len(rows))
    near = np.flatnonzero(meet(both, np.arange(len(rows)), own)).tolist()
    return rows[[i for i in near if common_byte(both, i, len(rows)) >= 0]]


def writers(found: Accesses, symbol: images.Symbol, span: tuple[int, int]) -> Ints:
    """The instructions first..last that write a tensor."""
    written = found.take(np.flatnonzero(found.is_write))
    return np.unique(written.instruction[touching(written, symbol, span)])


def element(text: str, symbols: dict[str, images.Symbol]) -> Element:
    """What "tensor[0,3,5,5]" names. Raises RunError."""
    match = ELEMENT.fullmatch(text)
    if match is None or match["name"] not in symbols:
        raise RunError(f"{text!r} is not an element of a tensor in memory, NAME[0,3,5,5]")
    symbol = symbols[match["name"]]
    index = tuple(int(i) for i in match["index"].split(",") if i.strip())
    if len(index) != len(symbol.shape) or any(
        i >= d for i, d in zip(index, symbol.shape, strict=True)
    ):
        raise RunError(f"{text!r} is not in the tensor's shape {list(symbol.shape)}")
    part, inside = symbol, list(index)
    if (head := symbol.head) is not None:
        part = symbol.first() if index[head.axis] < head.count else symbol.rest()
        inside[head.axis] -= head.count * (index[head.axis] >= head.count)
    offset = sum(i * s for i, s in zip(inside, part.strides, strict=True))
    start = part.address + offset * part.element_bytes
    return Element(part, index, start, start + part.element_bytes)
