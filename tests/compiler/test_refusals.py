"""What an instruction cannot express is refused by its operator, with the reason."""

import re
from collections.abc import Callable
from typing import Any

import pytest

from dnncc.ir.graph import Node
from dnncc.ops import find_op

from .graphs import GraphBuilder


def pad(build: GraphBuilder, before: tuple[int, ...], after: tuple[int, ...]) -> Node:
    x = build.input((1, 3, 4, 5, 6)[: len(before)])
    return build.node("pad", [x], before=before, after=after, value=3)


def matmul(build: GraphBuilder, a: tuple[int, ...], b: tuple[int, ...]) -> Node:
    return build.node("matmul", [build.input(a), build.input(b)], quant=None)


def mean(build: GraphBuilder, columns: int) -> Node:
    return build.node("global_avgpool", [build.input((1, 3, 4, columns))])


def conv(build: GraphBuilder, **attrs: Any) -> Node:
    x = build.input((1, 3, 40, 50))
    weight = build.constant(build.integers((2, 3, 1, 3), "int8"), build.tensors[x].quant)
    return build.conv(x, weight, **attrs)


REFUSED: dict[str, Callable[[GraphBuilder], Node]] = {
    "pads more than two": lambda b: pad(b, (0, 1, 1, 1), (0, 0, 0, 1)),
    "more than four axes": lambda b: pad(b, (0, 0, 0, 1, 1), (0, 0, 0, 1, 1)),
    "a pad of more than 255": lambda b: pad(b, (0, 0, 0, 300), (0, 0, 0, 1)),
    "planes of more than 255": lambda b: mean(b, 256),
    "outside of 0..255": lambda b: conv(b, pads=(0, 280, 0, 0)),
}


@pytest.mark.parametrize("reason", REFUSED)
def test_it_is_refused(reason: str) -> None:
    told = reason_of(REFUSED[reason])
    assert told is not None
    assert re.search(reason, told)


def reason_of(make: Callable[[GraphBuilder], Node]) -> str | None:
    build = GraphBuilder()
    node = make(build)
    op = find_op(node)
    assert op is not None
    return op.reason_not(node, build.tensors, None)


@pytest.mark.parametrize(
    "make",
    [
        lambda b: pad(b, (0, 0, 255, 1), (0, 0, 0, 1)),
        lambda b: matmul(b, (3, 4, 5), (3, 5, 6)),
        lambda b: matmul(b, (3, 4, 5), (1, 5, 6)),
        lambda b: matmul(b, (3, 4, 5), (5, 6)),
        lambda b: mean(b, 255),
    ],
)
def test_what_is_just_legal_is_not(make: Callable[[GraphBuilder], Node]) -> None:
    assert reason_of(make) is None
