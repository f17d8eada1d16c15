"""After it, channels that are shuffled between the parts of a concatenation lie so in it.

Part i of G has channels i, i + G, i + 2G, ... of the whole (ShuffleNet V2, ECCV 2018): each is
written to its places, and nothing is moved. Where channels are innermost, that is so of two parts:
a burst of DRAM is moved for each part that has bytes in it, and of more parts a copy moves less.
"""

from collections.abc import Mapping

from msgspec.structs import replace

from dnncc.targets import dataflow

from ..ir.graph import Graph, Node, prune
from ..ops.join import Place, interleaved
from .context import Context

SHUFFLE = ("reshape", "transpose", "reshape", "concat")
"""From its result to what it shuffles."""

MOST_INNERMOST = 2
"""Parts, where channels are innermost."""


def interleave_shuffles(graph: Graph, ctx: Context) -> Graph:
    innermost = ctx.target is not None and dataflow.model(ctx.target).CHANNELS_INNERMOST
    made, read = graph.producers(), graph.consumers()
    lone = {n for n, users in read.items() if len(users) == 1 and n not in graph.outputs}
    nodes = []
    for node in graph.nodes:
        chain = followed(node, made, lone)
        parts = shuffled(graph, chain)
        if not parts or innermost and len(parts) > MOST_INNERMOST:
            nodes.append(node)
            continue
        shape = graph.tensors[node.outputs[0]].shape
        steps = (1, len(parts), *(1 for _ in shape[2:]))
        places = [Place((0, i, *(0 for _ in shape[2:])), steps) for i in range(len(parts))]
        loc = tuple(dict.fromkeys(name for one in reversed(chain) for name in one.loc))
        nodes.append(interleaved(parts, places, node.outputs[0], loc))
    return prune(replace(graph, nodes=tuple(nodes)))


def followed(node: Node, made: Mapping[str, Node], lone: set[str]) -> list[Node]:
    """The nodes of a shuffle, back from its result, if nobody else reads what is between."""
    found = [node]
    while len(found) < len(SHUFFLE) and found[-1].op == SHUFFLE[len(found) - 1]:
        (source,) = found[-1].inputs[:1]
        before = made.get(source) if source in lone else None
        if before is None:
            break
        found.append(before)
    return found


def shuffled(graph: Graph, chain: list[Node]) -> tuple[str, ...]:
    """The parts whose channels lie in turn in the result; () if it is no such thing."""
    if tuple(node.op for node in chain) != SHUFFLE or chain[-1].attrs["axis"] != 1:
        return ()
    last, turn, split, whole = chain
    parts, each = whole.inputs, graph.tensors[whole.inputs[0]].shape
    _, channels, *sizes = each
    apart = (each[0], len(parts), channels, *sizes)
    perm = (0, 2, 1, *range(3, len(apart)))
    alike = {graph.tensors[name].shape for name in parts} == {each}
    shapes = [graph.tensors[node.outputs[0]].shape for node in (split, last)]
    wanted = [apart, (each[0], channels * len(parts), *sizes)]
    return parts if alike and shapes == wanted and turn.attrs["perm"] == perm else ()
