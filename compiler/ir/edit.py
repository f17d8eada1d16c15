"""A Graph under change: what a pass reads while it writes the nodes of the next Graph, in order."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from msgspec.structs import replace

from .graph import Array, Graph, Node, Quant, Tensor, prune


class Editor:
    """Nodes are emitted in execution order; patterns see what was emitted so far.

    A value that `alias` made equal to another is replaced by it in all nodes emitted later.
    """

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.tensors = dict(graph.tensors)
        self.constants = dict(graph.constants)
        self.nodes: list[Node] = []
        self.made: dict[str, Node] = {}
        self.aliases: dict[str, str] = {}
        self.uses = Counter(i for n in graph.nodes for i in dict.fromkeys(n.inputs) if i)
        self.uses.update(graph.outputs)

    def emit(self, node: Node) -> None:
        self.nodes.append(node)
        self.made.update((o, node) for o in node.outputs if o)

    def alias(self, name: str, same_as: str) -> None:
        self.aliases[name] = same_as
        self.uses[same_as] += self.uses[name] - 1

    def resolved(self, node: Node) -> Node:
        """`node` reading the values that its inputs are aliases of."""
        if not any(i in self.aliases for i in node.inputs):
            return node
        return replace(node, inputs=tuple(self.aliases.get(i, i) for i in node.inputs))

    def producer(self, name: str) -> Node | None:
        return self.made.get(name)

    def value(self, name: str) -> Array | None:
        """The value of a constant, or None."""
        return self.constants.get(name)

    def is_single_use(self, name: str) -> bool:
        return self.uses[name] == 1 and name not in self.graph.outputs

    def fresh(self, stem: str) -> str:
        """A name that no value has yet: `stem`, or `stem` with a number."""
        if stem not in self.tensors:
            return stem
        number = 1
        while f"{stem}.{number}" in self.tensors:
            number += 1
        return f"{stem}.{number}"

    def tensor(
        self, stem: str, shape: Iterable[int], dtype: npt.DTypeLike, quant: Quant | None = None
    ) -> str:
        """Declare a new value."""
        name = self.fresh(stem)
        self.tensors[name] = Tensor(name, tuple(shape), np.dtype(dtype), quant)
        return name

    def constant(self, stem: str, value: Array, quant: Quant | None = None) -> str:
        name = self.tensor(stem, value.shape, value.dtype, quant)
        self.constants[name] = value
        return name

    def like(self, name: str, stem: str, **changes: Any) -> str:
        """Declare a new value of the type of `name`, but for `changes`."""
        new = self.fresh(stem)
        self.tensors[new] = replace(self.tensors[name], name=new, **changes)
        return new

    def retype(self, name: str, **changes: Any) -> None:
        self.tensors[name] = replace(self.tensors[name], **changes)

    def finish(self, nodes: Sequence[Node] | None = None) -> Graph:
        """The new Graph, without what no output depends on."""
        return prune(
            replace(
                self.graph,
                nodes=tuple(self.nodes if nodes is None else nodes),
                tensors=self.tensors,
                constants=self.constants,
            )
        )
