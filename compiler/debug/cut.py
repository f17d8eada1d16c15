"""Parts of an ONNX model as models of their own, which begin with the values of the whole one."""

from collections.abc import Collection, Iterable, Mapping, Sequence

from onnx import GraphProto, ModelProto, NodeProto, ValueInfoProto, helper

from ..frontend.importer import captures, node_name
from ..ir.graph import Array

Values = Mapping[str, Array]


def cut(model: ModelProto, keep: Collection[int], values: Values) -> ModelProto | None:
    """The nodes numbered in `keep`; None if a value that they need is not known.

    What they read of other nodes are inputs; what no other of them reads are outputs. Constants
    that they read come along.
    """
    nodes = with_constants(model.graph, keep)
    made = {o for n in nodes for o in n.output if o}
    read = [name for n in nodes for name in reads(n)]
    weights = {t.name: t for t in model.graph.initializer}
    inputs = [n for n in dict.fromkeys(read) if n not in made and n not in weights]
    wanted = {v.name for v in model.graph.output}
    constant = {o for n in nodes if n.op_type == "Constant" for o in n.output}
    outputs = [o for n in nodes for o in n.output if o and (o in wanted or o not in set(read))]
    outputs = [o for o in outputs if o in values and o not in constant]
    if not outputs or any(name not in values for name in inputs):
        return None
    graph = helper.make_graph(
        nodes,
        model.graph.name or "cut",
        [described(name, values) for name in inputs],
        [described(name, values) for name in outputs],
        [weights[name] for name in dict.fromkeys(read) if name in weights],
    )
    return with_header(model, graph)


def with_header(model: ModelProto, graph: GraphProto) -> ModelProto:
    """The graph in a model of the same operators."""
    made = helper.make_model(graph, opset_imports=model.opset_import, ir_version=model.ir_version)
    made.functions.extend(model.functions)
    return made


def with_constants(graph: GraphProto, keep: Collection[int]) -> list[NodeProto]:
    """The nodes, with the Constant nodes that they read, in order."""
    kept = set(keep)
    needed = {name for i in kept for name in reads(graph.node[i])}
    return [
        named(node, index)
        for index, node in enumerate(graph.node)
        if index in kept or (node.op_type == "Constant" and needed.intersection(node.output))
    ]


def named(node: NodeProto, index: int) -> NodeProto:
    """A copy that has the name by which reports call it."""
    made = NodeProto()
    made.CopyFrom(node)
    made.name = node_name(node, index)
    return made


def reads(node: NodeProto) -> Iterable[str]:
    """All values that it depends on, those of its subgraphs included."""
    return [name for name in (*node.input, *captures(node)) if name]


def described(name: str, values: Values) -> ValueInfoProto:
    kind = helper.np_dtype_to_tensor_dtype(values[name].dtype)
    info: ValueInfoProto = helper.make_tensor_value_info(name, kind, values[name].shape)
    return info


def feeds_of(model: ModelProto, values: Values) -> dict[str, Array]:
    weights = {t.name for t in model.graph.initializer}
    return {v.name: values[v.name] for v in model.graph.input if v.name not in weights}


def around(model: ModelProto, names: Sequence[str], size: int) -> list[int]:
    """Up to `size` nodes that those called `names` depend on, the nearest first, and themselves."""
    maker = {o: i for i, n in enumerate(model.graph.node) for o in n.output if o}
    found = [i for i, n in enumerate(model.graph.node) if node_name(n, i) in names]
    for index in found:  # grows while it is walked: breadth first
        if len(found) >= size:
            break
        near = (maker[name] for name in reads(model.graph.node[index]) if name in maker)
        found += [i for i in near if i not in found]
    return sorted(found)
