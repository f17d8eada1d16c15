"""Layers that do not fit are tiled; one that does not in any tiling is refused."""

from collections.abc import Iterator
from math import prod

import pytest

from dnncc.diagnostics import CompileError
from dnncc.ir.graph import Graph
from dnncc.ir.tile import Loop, Nest, Step
from dnncc.ir.tile_verify import verify_tile

from ..graphs import GraphBuilder
from ..lowering import target, tiled

ODD = target("odd-13x7")


def conv_graph(size: int, kernel: int) -> Graph:
    build = GraphBuilder(1)
    x = build.input((1, 12, size, size + 1))
    shape = (24, 12, kernel, kernel)
    weight = build.constant(build.integers(shape, "int8"), build.tensors[x].quant)
    return build.graph(build.group(build.conv(x, weight)))


def loops(body: tuple[Loop | Step, ...]) -> Iterator[Loop]:
    for item in body:
        if isinstance(item, Loop):
            yield item
            yield from loops(item.body)


def bytes_of(nest: Nest) -> int:
    return sum(b.bytes for b in nest.buffers)


def test_9000_bytes_force_tiles() -> None:
    """The maps alone are 12 * 20 * 21 and 24 * 18 * 19 bytes: 13248."""
    program = tiled(conv_graph(20, 3), ODD)
    (nest,) = program.nests
    verify_tile(program, ODD)
    assert bytes_of(nest) <= 9000
    assert prod(loop.trips for loop in loops(nest.body)) > 1


def test_tiles_are_double_buffered() -> None:
    """The next tile is loaded while this one is worked on."""
    (nest,) = tiled(conv_graph(20, 3), ODD).nests
    moved = {v for loop in loops(nest.body) for v in (loop.var,) if loop.trips > 1}
    assert moved
    assert any(b.slots >= 2 for b in nest.buffers if b.kind == "ifmap")


def test_what_fits_in_no_tiling_is_refused() -> None:
    """One tap of 70 x 70 weights and the window that it reads: 4900 bytes each."""
    with pytest.raises(CompileError) as caught:
        tiled(conv_graph(70, 70), ODD)
    message = str(caught.value)
    assert message.startswith("node 'conv2d_conv2d2': ")
    assert "'spad'" in message and "9000" in message and "odd-13x7" in message
    needed = [int(word) for word in message.split() if word.isdecimal()]
    assert 9800 <= max(needed) < 11000
    assert "\n" not in message
