"""A Graph that is not legal is refused, naming the node."""

from __future__ import annotations

from collections.abc import Mapping

from ..diagnostics import CompileError
from ..ops import find_op
from .graph import Graph, Node, Tensor


class VerifyError(CompileError):
    """A Graph breaks a rule that every pass must keep."""


def verify(graph: Graph) -> None:
    """SSA, declared types, shapes as the operators infer them, views inside their roots."""
    known = {"", *graph.constants, *graph.inputs}
    for name in (*graph.inputs, *graph.constants):
        declared(graph, name, None)
    for name, value in graph.constants.items():
        tensor = graph.tensors[name]
        if value.shape != tensor.shape or value.dtype != tensor.dtype:
            raise VerifyError(
                f"constant '{name}' is {value.dtype}{list(value.shape)}, {told(tensor)}"
            )
    for node in graph.nodes:
        check_node(graph, node, known)
    for name in graph.outputs:
        if name not in known:
            raise VerifyError(f"nothing computes output '{name}'")
    for tensor in graph.tensors.values():
        check_view(graph, tensor)


def told(tensor: Tensor) -> str:
    return f"declared as {tensor.dtype}{list(tensor.shape)}"


def declared(graph: Graph, name: str, node: Node | None) -> Tensor:
    if name not in graph.tensors:
        raise error(node, f"value '{name}' has no type")
    return graph.tensors[name]


def error(node: Node | None, message: str) -> VerifyError:
    return VerifyError(message, node=(node.loc[0] if node.loc else node.op) if node else None)


def check_node(graph: Graph, node: Node, known: set[str]) -> None:
    """`node` reads what is `known`, and adds its results to that."""
    for name in node.inputs:
        if name not in known:
            raise error(node, f"reads '{name}' before it is computed")
    if node.body:
        check_body(graph, node, known)
    for name in filter(None, node.outputs):
        declared(graph, name, node)
        if name in known:
            raise error(node, f"computes '{name}' a second time")
        known.add(name)
    check_operator(graph, node)


def check_body(graph: Graph, node: Node, known: set[str]) -> None:
    """A body reads the node's inputs and computes its outputs; nothing else leaves it."""
    inside = {"", *node.inputs, *graph.constants}
    for inner in node.body:
        check_node(graph, inner, inside)
    missing = [name for name in node.outputs if name not in inside]
    if missing:
        raise error(node, f"its body does not compute '{missing[0]}'")
    for inner in node.body:
        clash = known.intersection(filter(None, inner.outputs))
        if clash:
            raise error(node, f"its body computes '{min(clash)}' a second time")


def check_operator(graph: Graph, node: Node) -> None:
    op = find_op(node)
    if op is None:
        if node.op not in ("group", "host") and not node.op.startswith("onnx."):
            raise error(node, f"there is no operator '{node.op}'")
        if node.op == "group" and len(node.outputs) != 1:
            raise error(node, f"a group has {len(node.outputs)} results, not 1")
        return
    if len(node.outputs) != 1:
        raise error(node, f"{node.op} has {len(node.outputs)} results, not 1")
    result = graph.tensors[node.outputs[0]]
    inferred = infer(node, graph.tensors)
    if inferred != result.shape:
        raise error(node, f"{node.op} gives {list(inferred)}, '{result.name}' is {told(result)}")


def infer(node: Node, tensors: Mapping[str, Tensor]) -> tuple[int, ...]:
    op = find_op(node)
    assert op is not None
    try:
        return tuple(int(n) for n in op.shape(node, tensors))
    except (KeyError, IndexError, ValueError, TypeError) as fault:
        raise error(node, f"{node.op} does not fit its inputs: {fault!r}") from None


def check_view(graph: Graph, tensor: Tensor) -> None:
    view = tensor.view
    if view is None:
        return
    if view.root not in graph.tensors:
        raise VerifyError(f"'{tensor.name}' is a view of '{view.root}', which does not exist")
    if len(view.strides) != len(tensor.shape):
        raise VerifyError(f"the view of '{tensor.name}' has {len(view.strides)} strides")
    spans = [(n - 1) * s for n, s in zip(tensor.shape, view.strides, strict=True)]
    first = view.offset + sum(min(s, 0) for s in spans)
    last = view.offset + sum(max(s, 0) for s in spans)
    size = graph.tensors[view.root].size
    if tensor.size and (first < 0 or last >= size):
        raise VerifyError(
            f"'{tensor.name}' views elements {first}..{last} of '{view.root}', which has {size}"
        )
