"""Which group of the graph a node's name in a mapping means, and how a group is called in one.

A group is made of several ONNX nodes, each of which may name it. Where one ONNX node became several
groups, they are NODE#1, NODE#2 and so on.
"""

from collections import Counter
from collections.abc import Iterator, Mapping

from ..ir.graph import Graph, Node
from .given import Given


def groups(graph: Graph) -> list[Node]:
    return [n for n in graph.nodes if n.op == "group"]


def names_of(group: Node) -> tuple[str, ...]:
    """Names of the ONNX nodes that it came from; that of its anchor first."""
    return tuple(dict.fromkeys((*group.body[0].loc, *group.loc)))


def meanings(graph: Graph) -> dict[str, Node]:
    """Every name that means one group."""
    count = Counter(name for group in groups(graph) for name in names_of(group))
    seen: Counter[str] = Counter()
    found: dict[str, Node] = {}
    for group in groups(graph):
        for name in names_of(group):
            seen[name] += 1
            found[name if count[name] == 1 else f"{name}#{seen[name]}"] = group
    return found


def titles(graph: Graph) -> Iterator[tuple[str, Node]]:
    """One name for each group, in the graph's order; NODE#1 where there is no plainer one."""
    known = meanings(graph)
    for group in groups(graph):
        mine = [name for name, meant in known.items() if meant is group]
        yield next((name for name in mine if name in names_of(group)), mine[0]), group


def assigned(graph: Graph, mapping: Mapping[str, Given]) -> dict[str, Given]:
    """What is given for each group, by its first output. Raises CompileError."""
    known = meanings(graph)
    found: dict[str, Given] = {}
    for name, given in mapping.items():
        if name not in known:
            raise given.refusal("", stranger(graph, name, list(known)))
        output = known[name].outputs[0]
        if output in found:
            why = f"is one loop nest with '{found[output].node}', which is given, too"
            raise given.refusal("", why)
        found[output] = given
    return found


def stranger(graph: Graph, name: str, known: list[str]) -> str:
    """Why a name means no group."""
    if f"{name}#1" in known:
        several = ", ".join(f"'{k}'" for k in known if k.startswith(f"{name}#"))
        return f"it became several loop nests: {several}"
    if any(name in n.loc for n in graph.nodes if n.op == "host"):
        return "it runs on the host"
    from difflib import get_close_matches  # a name that is wrong is rare

    close = get_close_matches(name, known, 1)
    hint = f"; did you mean '{close[0]}'?" if close else ""
    return f"the model has no loop nest of that name{hint}"
