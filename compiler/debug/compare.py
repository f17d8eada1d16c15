"""Values of a program against values expected of it, in the order in which it computes them."""

from collections.abc import Collection, Iterator, Mapping
from typing import Self

import numpy as np
from msgspec import Struct

from ..diagnostics import CompileError
from ..ir.graph import Array, Graph, Node
from ..ir.interpret import checked, execute, given_as, held
from ..ops import is_view

MOVING = ("pad", "maxpool", "copy")
"""Operators that compute nothing new, beside views: exact where others round."""

ROUNDED_SHARE = 0.002
ROUNDED_FEW = 4
"""Of a rounding operator's result, what may differ by one unit: so many, or that share; beside what
the reference rounds from a value this near to the middle of two integers:"""
TIE = 0.01

REAL_TOLERANCE = 1e-4
"""Of floats, relative to the largest: sums are taken in another order."""


class Mismatch(Struct, frozen=True):
    """`count` of the `size` elements of `tensor` are wrong, the one at `index` the most."""

    tensor: str
    node: tuple[str, ...]
    index: tuple[int, ...]
    expected: float
    got: float
    count: int
    size: int

    def __str__(self) -> str:
        where = f"[{', '.join(map(str, self.index))}]"
        return (
            f"node '{' + '.join(self.node)}': {self.count} of {self.size} elements of "
            f"'{self.tensor}' are wrong; the worst is {where}: expected {self.expected:g}, "
            f"got {self.got:g}"
        )


class Tally(Struct):
    """Tensors compared, their elements, and how many of those are off by one unit."""

    tensors: int = 0
    elements: int = 0
    rounded: int = 0


def makers(graph: Graph, values: Mapping[str, Array]) -> dict[str, Node]:
    """The node that computes each value, in the order of execution.

    Of a group it is the inner node, but the whole group where inner values are not in `values`.
    """
    made: dict[str, Node] = {}
    for node in graph.nodes:
        within = node.body if all(o in values for n in node.body for o in n.outputs) else ()
        for inner in (*within, node):
            made |= {o: inner for o in inner.outputs if o and o not in made}
    return made


def comparable(value: Array, expected: Array | None) -> bool:
    return expected is not None and value.shape == expected.shape and value.dtype == expected.dtype


def first_mismatch(
    graph: Graph, values: Mapping[str, Array], expected: Mapping[str, Array], tally: Tally
) -> Mismatch | None:
    """The first value that both have and that differs: integers and booleans at all."""
    for name, node in makers(graph, values).items():
        if name not in values or not comparable(values[name], expected.get(name)):
            continue
        found = difference(name, node, values[name], expected[name], None, tally)
        if found is not None:
            return found
    return None


class Reference(Struct):
    """The inputs of a program, and the `values` that are expected of it.

    `ties` are where the first program's QuantizeLinear rounds from near a middle; `operators` name
    what computes a value there.
    """

    feeds: Mapping[str, Array]
    values: dict[str, Array]
    ties: Mapping[str, Array]
    operators: Mapping[str, str]

    @classmethod
    def of(cls, graph: Graph, feeds: Mapping[str, Array], values: Mapping[str, Array]) -> Self:
        operators = {o: n.op for n in graph.walk() for o in n.outputs if o}
        return cls(feeds, {**feeds, **values}, find_ties(graph, values), operators)

    def allowed(self, name: str, node: Node, unknown: Collection[str]) -> Array | None:
        """Where the arithmetic of `node` may round otherwise; None where it must not at all.

        What only moves values that are `unknown` here, and so were not compared, tells of theirs.
        """
        if (is_moving(node) and not reads(node, unknown)) or node.op == self.operators.get(name):
            return None
        if node.op.startswith("onnx."):  # an integer kernel on the host: any element may differ
            return np.ones(self.values[name].shape, np.bool_)
        return self.ties.get(name, np.zeros(self.values[name].shape, np.bool_))


def is_moving(node: Node) -> bool:
    return is_view(node) or node.op in MOVING


def reads(node: Node, names: Collection[str]) -> bool:
    return any(name in names for name in node.inputs)


def first_step_mismatch(graph: Graph, reference: Reference, tally: Tally) -> Mismatch | None:
    """The first node whose result differs when it is given the expected inputs.

    Nodes that round may be off by one unit at ties and in a few more elements; that does not add
    up, since the next node gets what is expected.
    """
    expected = reference.values
    values = {name: held(graph, name, reference.feeds) for name in graph.inputs}
    unknown = set[str]()
    for node in graph.nodes:
        execute(graph, node, values)
        for name in [o for n in (*node.body, node) for o in n.outputs]:
            if name not in values or not comparable(values[name], expected.get(name)):
                unknown.update([name] if not is_moving(node) or reads(node, unknown) else [])
                continue
            ties = reference.allowed(name, node, unknown)
            found = difference(name, node, values[name], expected[name], ties, tally)
            if found is not None:
                return found
            values[name] = expected[name]
    return None


def difference(
    name: str, node: Node, got: Array, expected: Array, ties: Array | None, tally: Tally
) -> Mismatch | None:
    """What is wrong of a value; with `ties`, what rounding cannot explain."""
    tally.tensors += 1
    tally.elements += got.size
    distance = distances(got, expected)
    wrong = distance > limit(expected)
    count = int(np.count_nonzero(wrong))
    if ties is not None and is_rounding(distance, int(np.count_nonzero(wrong & ~ties))):
        tally.rounded += count
        return None
    if not count:
        return None
    worst = np.unravel_index(int(np.argmax(distance)), got.shape)
    return Mismatch(
        name,
        node.loc,
        tuple(int(i) for i in worst),
        float(expected[worst]),
        float(got[worst]),
        count,
        got.size,
    )


def find_ties(graph: Graph, values: Mapping[str, Array]) -> dict[str, Array]:
    """For each result of QuantizeLinear per tensor, where it is rounded from near a middle."""
    found = {}
    for node in graph.nodes:
        scale = graph.constants.get(node.inputs[1]) if len(node.inputs) > 1 else None
        if node.op != "onnx.QuantizeLinear" or scale is None or scale.size != 1:
            continue
        real = values.get(node.inputs[0])
        if real is not None:
            steps = real.astype(np.float64) / float(scale.reshape(()))
            found[node.outputs[0]] = np.abs(steps - np.floor(steps) - 0.5) < TIE
    return found


def distances(got: Array, expected: Array) -> Array:
    """Absolute differences; NaN is equal to NaN, and infinitely far from all else."""
    with np.errstate(invalid="ignore", over="ignore"):
        apart: Array = np.abs(got.astype(np.float64) - expected.astype(np.float64))
    equal = (got == expected) | ((got != got) & (expected != expected))
    return np.where(equal, 0.0, np.where(np.isnan(apart), np.inf, apart))


def limit(expected: Array) -> float:
    if expected.dtype.kind != "f" or not expected.size:
        return 0.0
    finite = np.abs(expected[np.isfinite(expected)])
    return REAL_TOLERANCE * float(finite.max(initial=0.0))


def is_rounding(distance: Array, count: int) -> bool:
    few = max(ROUNDED_FEW, ROUNDED_SHARE * distance.size)
    return count <= few and float(distance.max(initial=0.0)) <= 1.0


def given_feeds(graph: Graph, source: str, arrays: Mapping[str, Array]) -> dict[str, Array]:
    """The model's inputs among `arrays`, checked. Raises CompileError that names `source`."""
    try:
        return {name: checked(graph, name, arrays) for name in graph.inputs}
    except CompileError as error:
        error.file = source
        raise


def random_feeds(graph: Graph, seed: int) -> dict[str, Array]:
    """Integers over all of their range, floats from the normal distribution."""
    rng = np.random.default_rng(seed)
    return dict(random_inputs(graph, rng))


def random_inputs(graph: Graph, rng: np.random.Generator) -> Iterator[tuple[str, Array]]:
    for name in graph.inputs:
        tensor = graph.tensors[name]
        dtype = given_as(tensor)
        if dtype.kind in "iu":
            info = np.iinfo(dtype)
            value = rng.integers(info.min, info.max, tensor.shape, dtype, endpoint=True)
        else:
            value = rng.standard_normal(tensor.shape).astype(dtype)
        yield name, np.asarray(value)
