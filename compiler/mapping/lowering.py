"""From a group of the graph to its Workload: its operators say it, each in its class."""

from collections.abc import Sequence

from dnncc.targets import Target

from ..ir.graph import Graph, Node
from ..ops.cascade import lower_cascade, split
from ..ops.op import Op
from .build import Builder
from .workload import Workload


def workload(group: Node, graph: Graph, target: Target) -> Workload:
    """The Workload of a group: its first node opens the loops, the others work on its result.

    A cascade's convolutions open them together; what prepares a convolution's input comes before.
    """
    build = Builder(graph, target, group)
    prologue, (anchor, *epilogue) = prepared(group.body)
    if "cascade" in group.attrs:
        convolutions, epilogue = split(group.body)
        lower_cascade(build, convolutions, group.attrs["cascade"])
    else:
        Op.named[anchor.op].lower(build, anchor)
    for node in epilogue:
        Op.named[node.op].lower_onto(build, node)
    for node in prologue:
        Op.named[node.op].lower_before(build, node)
    return build.finish()


PREPARES, OPENS = ("quantize", "maxpool", "avgpool"), ("conv2d",)
POOLS = ("maxpool", "avgpool", "global_avgpool")


def prepared(body: Sequence[Node]) -> tuple[Sequence[Node], Sequence[Node]]:
    """What prepares the input of the node that opens the loops, and the rest."""
    first = len(body) > 1 and body[0].op in PREPARES and body[1].op in OPENS
    return body[:first], body[first:]


def count_attached(body: Sequence[Node]) -> int:
    """How many groups were made one: of lanes before a convolution, itself, and a pool behind."""
    before, rest = prepared(body)
    return len(before) + 1 + any(node.op in POOLS for node in rest[1:])
