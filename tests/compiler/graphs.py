"""Graphs for tests, as they are after assign_layout: groups on values that have views."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from dnncc.ir.graph import Array, Graph, Node, Quant, Tensor, View
from dnncc.ir.strides import dense
from dnncc.ops import find_op


class GraphBuilder:
    """Declares values, and adds nodes in execution order; `rng` makes the numbers."""

    def __init__(self, seed: int = 0) -> None:
        self.rng = np.random.default_rng(seed)
        self.inputs: list[str] = []
        self.tensors: dict[str, Tensor] = {}
        self.constants: dict[str, Array] = {}
        self.nodes: list[Node] = []

    def name(self, stem: str) -> str:
        return f"{stem}{len(self.tensors)}"

    def declare(self, stem: str, shape: Sequence[int], dtype: Any, quant: Quant | None) -> str:
        name = self.name(stem)
        self.tensors[name] = Tensor(name, tuple(shape), np.dtype(dtype), quant)
        return name

    def stored(self, name: str, order: Sequence[int] | None = None) -> str:
        """Give it storage of its own: row-major, or with its dimensions stored in `order`."""
        tensor = self.tensors[name]
        order = range(len(tensor.shape)) if order is None else order
        packed = dense([tensor.shape[i] for i in order])
        strides = tuple(packed[list(order).index(i)] for i in range(len(tensor.shape)))
        return self.placed(name, View(name, 0, strides))

    def placed(self, name: str, view: View) -> str:
        old = self.tensors[name]
        self.tensors[name] = Tensor(name, old.shape, old.dtype, old.quant, view)
        return name

    def input(
        self,
        shape: Sequence[int],
        dtype: Any = "int8",
        quant: Quant | None = None,
        order: Sequence[int] | None = None,
    ) -> str:
        quant = quant or Quant.per_tensor(0.05, 3)
        name = self.stored(self.declare("x", shape, dtype, quant), order)
        self.inputs.append(name)
        return name

    def constant(self, value: Array, quant: Quant | None = None) -> str:
        name = self.declare("w", value.shape, value.dtype, quant)
        self.constants[name] = value
        return name

    def integers(self, shape: Sequence[int], dtype: Any) -> Array:
        info = np.iinfo(dtype)
        return self.rng.integers(info.min, info.max + 1, tuple(shape)).astype(dtype)

    def node(
        self,
        op: str,
        inputs: Sequence[str],
        dtype: Any = "int8",
        quant: Quant | None = None,
        **attrs: Any,
    ) -> Node:
        """A node with a result of a new type, which has no storage unless it leaves a group."""
        info = np.iinfo(dtype) if np.dtype(dtype).kind in "iu" else None
        if info is not None:
            attrs = {"low": int(info.min), "high": int(info.max)} | attrs
        probe = Node(op, tuple(inputs), ("",), attrs)
        kind = find_op(probe)
        assert kind is not None
        name = self.declare(op, kind.shape(probe, self.tensors), dtype, quant)
        return Node(op, tuple(inputs), (name,), attrs, loc=(f"{op}_{name}",))

    def conv(self, x: str, weight: str, bias: str = "", **attrs: Any) -> Node:
        given: dict[str, Any] = {
            "quant": Quant.per_tensor(0.4, -5), "strides": (1, 1), "pads": (0, 0, 0, 0),
            "dilations": (1, 1), "group": 1,
        }  # fmt: skip
        inputs = [x, weight, bias] if bias else [x, weight]
        return self.node("conv2d", inputs, **(given | attrs))

    def group(self, *body: Node, order: Sequence[int] | None = None) -> str:
        """One group of these nodes; the name of its result, which gets storage."""
        made = {o for n in body for o in n.outputs}
        inputs = dict.fromkeys(i for n in body for i in n.inputs if i and i not in made)
        loc = tuple(name for n in body for name in n.loc)
        self.nodes.append(Node("group", tuple(inputs), body[-1].outputs, body=body, loc=loc))
        return self.stored(body[-1].outputs[0], order)

    def view(self, op: str, inputs: Sequence[str], where: View, **attrs: Any) -> str:
        """A view node, whose result is an input's storage addressed by `where`."""
        source = self.tensors[inputs[0]]
        node = self.node(op, inputs, source.dtype, source.quant, **attrs)
        self.nodes.append(node)
        return self.placed(node.outputs[0], where)

    def graph(self, *outputs: str) -> Graph:
        return Graph(
            "test", tuple(self.inputs), outputs, self.tensors, self.constants, tuple(self.nodes)
        )
