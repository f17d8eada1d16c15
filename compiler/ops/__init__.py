"""The operators of the Graph: every module here is imported, so `Op.named` has every class."""

from importlib import import_module
from pathlib import Path

from ..ir.graph import Node
from .op import Op

__all__ = ["Op", "find_op", "is_view"]

for _module in sorted(Path(__file__).parent.glob("[!_]*.py")):
    import_module(f"{__name__}.{_module.stem}")


def find_op(node: Node) -> type[Op] | None:
    """The class of `node`; None for ONNX nodes, groups and host parts."""
    return Op.named.get(node.op)


def is_view(node: Node) -> bool:
    op = find_op(node)
    return op is not None and op.is_view
