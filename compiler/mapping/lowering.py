"""From a group of the graph to its Workload: its operators say it, each in its class."""

from dnncc.targets import Target

from ..ir.graph import Graph, Node
from ..ops.cascade import lower_cascade, split
from ..ops.op import Op
from .build import Builder
from .workload import Workload


def workload(group: Node, graph: Graph, target: Target) -> Workload:
    """The Workload of a group: its first node opens the loops, the others work on its result.

    A cascade's convolutions open them together.
    """
    build = Builder(graph, target, group)
    anchor, *epilogue = group.body
    if "cascade" in group.attrs:
        convolutions, epilogue = split(group.body)
        lower_cascade(build, convolutions, group.attrs["cascade"])
    else:
        Op.named[anchor.op].lower(build, anchor)
    for node in epilogue:
        Op.named[node.op].lower_onto(build, node)
    return build.finish()
