"""A Graph as text in MLIR's generic syntax, and back, exactly.

Constants are not in the text: it has a hash of their content, under which `resources` has them. A
value's SSA name is its ONNX name where that is an identifier, else made of it; `results` has it.
"""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from typing import Any

import numpy as np

from ..diagnostics import CompileError
from .graph import Array, Graph, Head, Node, Quant, Tensor, View
from .mlir import Block, Operation, TensorType, Type, parse_operation, print_operation

ELEMENTS = {
    "i1": "bool", "i8": "int8", "ui8": "uint8", "i16": "int16", "ui16": "uint16", "i32": "int32",
    "ui32": "uint32", "i64": "int64", "ui64": "uint64", "f16": "float16", "f32": "float32",
    "f64": "float64",
}  # fmt: skip
NAMES = {np.dtype(dtype): name for name, dtype in ELEMENTS.items()}
IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_.$-]{0,31}")
ABSENT = "none"
LONGEST = 24
"""Characters of a value's name in an SSA name that is made of it."""


def print_graph(graph: Graph) -> str:
    return print_operation(Printer(graph).graph_operation())


def parse_graph(text: str, resources: Mapping[str, Array], file: str = "<text>") -> Graph:
    return Parser(resources, file).graph(parse_operation(text, file))


def resources(graph: Graph) -> dict[str, Array]:
    """What `parse_graph` needs beside the text: by content, so equal constants are one."""
    arrays = [*graph.constants.values()]
    for tensor in graph.tensors.values():
        if tensor.quant is not None and is_long(tensor.quant):
            arrays += [tensor.quant.scale, tensor.quant.zero]
    arrays += [v for n in graph.walk() for v in n.attrs.values() if isinstance(v, np.ndarray)]
    return {key(a): a for a in arrays}


def key(value: Array) -> str:
    kind = f"{value.dtype.str}{value.shape}".encode()
    return sha256(kind + value.tobytes()).hexdigest()[:16]


def is_long(quant: Quant) -> bool:
    return quant.axis is not None or quant.scale.size > 1


def identifier(name: str) -> str:
    """What an SSA name can hold of the end of a name, which in ONNX tells the most."""
    return "_" + re.sub(r"[^A-Za-z0-9_.$-]", "_", name)[-LONGEST:]


class Printer:
    """Graph -> operations."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.ids: dict[str, str] = {}
        self.taken: set[str] = set()
        self.alike: dict[str, int] = {}

    def graph_operation(self) -> Operation:
        graph = self.graph
        arguments = tuple((self.define(i), self.type(i)) for i in graph.inputs)
        absent = any(not i for n in graph.walk() for i in n.inputs)
        operations = [Operation("dnncc.none", (), (ABSENT,), result_types=(ABSENT,))] * absent
        operations += [self.constant(name) for name in graph.constants]
        operations += [self.operation(node) for node in graph.nodes]
        operations.append(self.returned())
        attrs: dict[str, Any] = {"name": graph.name, "opset": graph.opset}
        attrs |= self.described("arguments", graph.inputs)
        return Operation("dnncc.graph", attrs=attrs, body=Block(arguments, tuple(operations)))

    def returned(self) -> Operation:
        outputs = self.graph.outputs
        types = tuple(map(self.type, outputs))
        return Operation("dnncc.return", tuple(map(self.id, outputs)), operand_types=types)

    def constant(self, name: str) -> Operation:
        result = (self.define(name),)
        attrs = {"value": key(self.graph.constants[name]), **self.described("results", (name,))}
        return Operation("dnncc.constant", (), result, attrs, result_types=(self.type(name),))

    def operation(self, node: Node) -> Operation:
        """A body ends by yielding the node's results, whose names its own values have."""
        inner = tuple(map(self.operation, node.body))
        results = tuple(map(self.define, node.outputs))
        types = tuple(map(self.type, node.outputs))
        if node.body:
            inner += (Operation("dnncc.yield", results, operand_types=types),)
        attrs = {k: self.attr(v) for k, v in node.attrs.items()}
        return Operation(
            f"dnncc.{node.op}",
            tuple(map(self.id, node.inputs)),
            results,
            attrs | self.described("results", node.outputs),
            Block((), inner) if node.body else None,
            tuple(map(self.type, node.inputs)),
            types,
            node.loc,
        )

    def attr(self, value: Any) -> Any:
        if isinstance(value, np.ndarray):
            return {"array": key(value)}
        if isinstance(value, bytes):
            return {"bytes": b64encode(value).decode()}
        return value.item() if isinstance(value, np.generic) else value

    def described(self, name: str, values: Sequence[str]) -> dict[str, Any]:
        """What the SSA names and types of `values` do not say, if anything."""
        entries = tuple(self.description(value) for value in values)
        return {name: entries} if any(entries) else {}

    def description(self, name: str) -> dict[str, Any]:
        if self.ids.get(name, "") == name:
            known: dict[str, Any] = {}
        else:
            known = {"name": name}
        tensor = self.graph.tensors.get(name)
        if tensor is not None and tensor.memory != "dram":
            known["memory"] = tensor.memory
        if tensor is not None and tensor.real:
            known["real"] = True
        if tensor is not None and tensor.address >= 0:
            known["address"] = tensor.address
        if tensor is not None and tensor.head is not None:
            head = tensor.head
            known["head"] = {
                "memory": head.memory,
                "address": head.address,
                "elements": head.elements,
            }
        if tensor is not None and tensor.view is not None:
            view = tensor.view
            known |= {"root": view.root, "offset": view.offset, "strides": view.strides}
        return known

    def define(self, name: str) -> str:
        if name not in self.ids:
            plain = IDENTIFIER.fullmatch(name) and name != ABSENT
            self.ids[name] = self.fresh(name if plain else identifier(name))
            self.taken.add(self.ids[name])
        return self.ids[name]

    def fresh(self, stem: str) -> str:
        """Numbers only where names are alike: a diff shows what has changed, and no more."""
        found = stem
        while found in self.taken:
            self.alike[stem] = self.alike.get(stem, 0) + 1
            found = f"{stem}.{self.alike[stem]}"
        return found

    def id(self, name: str) -> str:
        return self.ids[name] if name else ABSENT

    def type(self, name: str) -> Type:
        if not name:
            return ABSENT
        tensor = self.graph.tensors[name]
        if tensor.dtype not in NAMES:
            raise CompileError(f"'{name}' is {tensor.dtype}, which has no text form")
        return TensorType(tensor.shape, NAMES[tensor.dtype], encoding(tensor.quant))


def encoding(quant: Quant | None) -> dict[str, Any]:
    if quant is None:
        return {}
    if not is_long(quant):
        return {"scale": float(quant.scale[0]), "zero": int(quant.zero[0])}
    scales = {"scales": key(quant.scale), "zeros": key(quant.zero)}
    return scales if quant.axis is None else {**scales, "axis": quant.axis}


class Parser:
    """Operations -> Graph."""

    def __init__(self, resources: Mapping[str, Array], file: str) -> None:
        self.resources = resources
        self.file = file
        self.names: dict[str, str] = {ABSENT: ""}
        self.tensors: dict[str, Tensor] = {}
        self.constants: dict[str, Array] = {}

    def graph(self, top: Operation) -> Graph:
        if top.name != "dnncc.graph" or top.body is None or not top.body.operations:
            raise CompileError("not a graph: it is not one dnncc.graph with a body", file=self.file)
        ids = [name for name, _ in top.body.arguments]
        types = [kind for _, kind in top.body.arguments]
        inputs = self.declare(ids, types, top.attrs.get("arguments"))
        *operations, returned = top.body.operations
        if returned.name != "dnncc.return":
            raise CompileError("the graph does not end in dnncc.return", file=self.file)
        nodes = self.nodes(operations)
        name, opset = str(top.attrs.get("name", "")), int(top.attrs.get("opset", 21))
        outputs = self.operands(returned)
        return Graph(name, inputs, outputs, self.tensors, self.constants, nodes, opset)

    def nodes(self, operations: Iterable[Operation]) -> tuple[Node, ...]:
        made = [self.node(operation) for operation in operations]
        return tuple(node for node in made if node is not None)

    def node(self, op: Operation) -> Node | None:
        """The node of an operation; a constant is none, nor is what ends a body."""
        name = op.name.removeprefix("dnncc.")
        if name in (ABSENT, "yield"):
            return None
        inputs = self.operands(op)
        body = self.nodes(op.body.operations) if op.body else ()
        outputs = self.declare(op.results, op.result_types, op.attrs.get("results"))
        if name == "constant":
            self.constants[outputs[0]] = self.resource(op.attrs.get("value"))
            return None
        attrs = {k: self.attr(v) for k, v in op.attrs.items() if k != "results"}
        return Node(name, inputs, outputs, attrs, body, op.loc)

    def attr(self, value: Any) -> Any:
        if isinstance(value, dict) and "array" in value:
            return self.resource(value["array"])
        if isinstance(value, dict) and "bytes" in value:
            return b64decode(value["bytes"])
        return value

    def operands(self, op: Operation) -> tuple[str, ...]:
        for name in op.operands:
            if name not in self.names:
                raise CompileError(f"%{name} is not defined before {op.name}", file=self.file)
        return tuple(self.names[name] for name in op.operands)

    def declare(self, ids: Sequence[str], types: Sequence[Type], described: Any) -> tuple[str, ...]:
        entries: Sequence[Mapping[str, Any]] = described or ({},) * len(ids)
        if len(ids) != len(types) or len(entries) != len(ids):
            raise CompileError(f"{len(ids)} results but {len(types)} types", file=self.file)
        return tuple(map(self.declare_one, ids, types, entries))

    def declare_one(self, ssa: str, kind: Type, described: Mapping[str, Any]) -> str:
        name = str(described.get("name", ssa))
        self.names[ssa] = name
        if not isinstance(kind, TensorType):
            return name
        if kind.element not in ELEMENTS:
            raise CompileError(f"unknown element type {kind.element}", file=self.file)
        view = None
        if "root" in described:
            view = View(described["root"], described["offset"], described["strides"])
        dtype, quant = np.dtype(ELEMENTS[kind.element]), self.quant(kind.encoding)
        memory, address = described.get("memory", "dram"), described.get("address", -1)
        head = Head(**described["head"]) if "head" in described else None
        real = described.get("real", False)
        made = Tensor(name, kind.shape, dtype, quant, view, memory, address, head, real)
        self.tensors[name] = made
        return name

    def quant(self, encoding: Mapping[str, Any]) -> Quant | None:
        if not encoding:
            return None
        if "scale" in encoding:
            return Quant.per_tensor(encoding["scale"], encoding["zero"])
        scales, zeros = (self.resource(encoding[k]) for k in ("scales", "zeros"))
        return Quant(scales, zeros, encoding.get("axis"))

    def resource(self, name: Any) -> Array:
        if name not in self.resources:
            raise CompileError(f"there is no constant '{name}' beside the text", file=self.file)
        return self.resources[name]
