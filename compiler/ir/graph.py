"""The Graph: SSA tensors, and the nodes that compute them, in execution order.

A tensor carries its quantisation; a node carries the names of the ONNX nodes it came from. A value
is named as in ONNX. `Node.body` is a region: the nodes that one fused node stands for.
"""

from collections.abc import Iterator, Mapping, Sequence
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt
from msgspec import Struct, field
from msgspec.structs import replace

Array = npt.NDArray[Any]


class Quant(Struct, frozen=True, eq=False):
    """real = scale * (q - zero); one entry, or one per index of `axis` (ONNX QuantizeLinear).

    `scale` is float32[1] or float32[channels], `zero` is int32 of the same shape.
    """

    scale: npt.NDArray[np.float32]
    zero: npt.NDArray[np.int32]
    axis: int | None = None

    @classmethod
    def per_tensor(cls, scale: float, zero: int) -> "Quant":
        return cls(np.array([scale], np.float32), np.array([zero], np.int32))

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Quant)
            and self.axis == other.axis
            and np.array_equal(self.scale, other.scale)
            and np.array_equal(self.zero, other.zero)
        )

    def __ne__(self, other: object) -> bool:  # Struct's own compares identities
        return not self == other


class View(Struct, frozen=True):
    """Where a tensor's elements lie: in the storage of `root`; `offset`, `strides` in elements."""

    root: str
    offset: int
    strides: tuple[int, ...]


class Head(Struct, frozen=True):
    """The first `elements` of a storage, which lie in scratchpad `memory` from byte `address` on,
    at the strides that they would have in DRAM, where the others are."""

    memory: str
    address: int
    elements: int


class Tensor(Struct, frozen=True):
    """The type of a value; `memory` is the memory that holds all of it ("dram" or a scratchpad).

    `address` is where the storage of a root begins there, in bytes; -1 until it is allocated. Of a
    storage in DRAM a `head` may stay on chip. An input or output that is `real` is float32 to the
    caller: the runtime quantises it, or dequantises, by its `quant`.
    """

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    quant: Quant | None = None
    view: View | None = None
    memory: str = "dram"
    address: int = -1
    head: Head | None = None
    real: bool = False

    @property
    def size(self) -> int:
        return prod(self.shape)


class Node(Struct, frozen=True):
    """`op` is "onnx.NAME" (`domain` in attrs if not the default), or one of compiler/ops.

    An absent optional input is the empty string, as in ONNX. `loc` names the ONNX nodes.
    """

    op: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attrs: Mapping[str, Any] = field(default_factory=dict)
    body: tuple["Node", ...] = ()
    loc: tuple[str, ...] = ()


class Graph(Struct, frozen=True):
    """Passes return a new Graph; the dictionaries are never changed in place.

    `opset` is the version of the default ONNX operators that its onnx.* nodes are of.
    """

    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    tensors: Mapping[str, Tensor]
    constants: Mapping[str, Array]
    nodes: tuple[Node, ...]
    opset: int = 21

    def producers(self) -> dict[str, Node]:
        return {o: n for n in self.nodes for o in n.outputs if o}

    def consumers(self) -> dict[str, list[Node]]:
        users: dict[str, list[Node]] = {}
        for node in self.nodes:
            for name in dict.fromkeys(i for i in node.inputs if i):
                users.setdefault(name, []).append(node)
        return users

    def walk(self) -> Iterator[Node]:
        """Every node, and the nodes of its body, in execution order."""
        for node in self.nodes:
            yield node
            yield from node.body

    def with_nodes(self, nodes: tuple[Node, ...], **changes: Any) -> "Graph":
        return replace(self, nodes=nodes, **changes)


def one_group(groups: Sequence[Node]) -> Node:
    """All of them as one group, which reads what they read and makes what the last one makes."""
    made = {name for node in groups for name in node.outputs}
    inputs = dict.fromkeys(i for node in groups for i in node.inputs if i not in made)
    body = tuple(inner for node in groups for inner in node.body)
    loc = tuple(dict.fromkeys(name for node in groups for name in node.loc))
    return Node("group", tuple(inputs), groups[-1].outputs, {}, body, loc)


def prune(graph: Graph) -> Graph:
    """Drop nodes, tensors and constants that no output depends on."""
    live = set(graph.outputs)
    kept: list[Node] = []
    for node in reversed(graph.nodes):
        if live.intersection(node.outputs):
            kept.append(node)
            live.update(i for i in node.inputs if i)
    inner = {name for n in kept for b in n.body for name in (*b.inputs, *b.outputs) if name}
    named = live | inner | set(graph.inputs) | {o for n in kept for o in n.outputs if o}
    roots = {t.view.root for name, t in graph.tensors.items() if name in named and t.view}
    named |= roots
    return replace(
        graph,
        nodes=tuple(reversed(kept)),
        tensors={k: v for k, v in graph.tensors.items() if k in named},
        constants={k: v for k, v in graph.constants.items() if k in named},
    )
