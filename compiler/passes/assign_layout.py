"""After it, every value has a View: transposes, reshapes and slices are only addressing.

Where the target's array takes several channels of a pixel at once, feature maps have their channels
innermost and their rows outermost: then what a tile of rows takes is one run of bytes, and a
layer's first rows are there before its last. Where it takes rows, maps are planes. Where an address
cannot express a view, the storage order of the value's producer is chosen so that it can; channels
that are shuffled between groups are stored so by the convolution before; where that is not enough,
a `copy` stands in a group of its own. The parts of what is put together (concatenations,
interleaved tensors) are written to their places in it. The graph's outputs are dense, in ONNX
order, and no view of an input. Constants have no View.
"""

from __future__ import annotations

from collections.abc import Mapping
from operator import mul

from msgspec import Struct, field
from msgspec.structs import replace

from dnncc.targets import dataflow

from ..ir.edit import Editor
from ..ir.graph import Graph, Node, Tensor, View
from ..ir.strides import Strides, dense, is_dense, is_row_major, reshape_strides
from ..ops import find_op, is_view
from ..ops.join import Join, Place
from .context import Context


def assign_layout(graph: Graph, ctx: Context) -> Graph:
    """Each try that fails has chosen one more storage order or inserted one more copy."""
    channels = ctx.target is not None and dataflow.model(ctx.target).CHANNELS_INNERMOST
    plan = Plan(*gather(graph), channels)
    while (views := plan.place()) is None:
        pass
    tensors = {k: replace(t, view=views.get(k)) for k, t in plan.graph.tensors.items()}
    return replace(plan.graph, tensors=tensors)


Order = tuple[int, ...]


class Home(Struct, frozen=True):
    """A part of `whole`, and its place in it."""

    whole: str
    place: Place


def gather(graph: Graph) -> tuple[Graph, dict[str, Home]]:
    """Each input of a join gets its place in it, through a copy if it has another."""
    edit = Editor(graph)
    homes: dict[str, Home] = {}
    for node in graph.nodes:
        if not is_join(node):
            edit.emit(node)
            continue
        inputs = []
        for name, place in zip(node.inputs, places(node, edit.tensors), strict=True):
            if name in homes or name in graph.outputs or not can_choose(edit.producer(name)):
                name = emit_copy(edit, name, node.loc)
            homes[name] = Home(node.outputs[0], place)
            inputs.append(name)
        edit.emit(replace(node, inputs=tuple(inputs)))
    return edit.finish(), homes


def is_join(node: Node) -> bool:
    op = find_op(node)
    return op is not None and issubclass(op, Join)


def places(node: Node, tensors: Mapping[str, Tensor]) -> list[Place]:
    op = find_op(node)
    assert op is not None and issubclass(op, Join)
    return op.places(node, tensors)


def can_choose(producer: Node | None) -> bool:
    """It can store its result anywhere, in any order."""
    return producer is not None and (producer.op == "group" or is_join(producer))


def emit_copy(edit: Editor, name: str, loc: tuple[str, ...]) -> str:
    new = edit.like(name, f"{name}.copy")
    edit.emit(copy_group(name, new, loc))
    return new


def copy_group(source: str, result: str, loc: tuple[str, ...]) -> Node:
    inner = Node("copy", (source,), (result,), loc=loc)
    return Node("group", inner.inputs, inner.outputs, body=(inner,), loc=loc)


class Plan(Struct):
    """What is decided so far; `orders` has the strides of roots that had to be chosen, `natural`
    the dimensions of the others, outermost first, where they are not row-major."""

    graph: Graph
    homes: dict[str, Home]
    channels_innermost: bool = False
    orders: dict[str, Strides] = field(default_factory=dict)
    natural: dict[str, Order] = field(default_factory=dict)

    def place(self) -> dict[str, View] | None:
        """All views; or None, having changed the plan where one could not be had."""
        self.natural = natural_orders(self.graph) if self.channels_innermost else {}
        views = {name: self.stored(name) for name in self.graph.inputs}
        for node in self.graph.nodes:
            if not is_view(node) or is_join(node):
                views.update((name, self.stored(name)) for name in node.outputs if name)
                continue
            view = derived(node, views[node.inputs[0]], self.graph.tensors)
            if view is None:
                self.mend(node.inputs[0], node)
                return None
            views[node.outputs[0]] = view
        for name in self.graph.outputs:
            if name in views and not is_output(self.graph, name, views[name]):
                self.mend(name, None)
                return None
        return views

    def stored(self, name: str) -> View:
        """The view of a value that has storage: its own, or its place in a join."""
        if name not in self.homes:
            shape = self.graph.tensors[name].shape
            strides = ordered(shape, self.natural[name]) if name in self.natural else dense(shape)
            return View(name, 0, self.orders.get(name, strides))
        home = self.homes[name]
        whole, (starts, steps) = self.stored(home.whole), home.place
        offset = whole.offset + sum(map(mul, starts, whole.strides))
        return replace(whole, offset=offset, strides=tuple(map(mul, steps, whole.strides)))

    def mend(self, name: str, reader: Node | None) -> None:
        """See to it that `name` is row-major: by the order of its root, else by a copy."""
        found = root_order(self.graph, name)
        apart = groups_apart(self.graph, name)
        if found is not None and self.is_free(found[0]):
            self.orders[found[0]] = found[1]
        elif apart is not None:
            self.graph = apart
        elif reader is not None:
            self.graph = copied_for(self.graph, name, reader)
        else:
            self.graph = copied_out(self.graph, name)

    def is_free(self, root: str) -> bool:
        fixed = root in self.orders or root in self.homes
        return not fixed and can_choose(self.graph.producers().get(root))


CHANNELS_INNERMOST: Order = (0, 2, 3, 1)
GROUPS_INNERMOST: Order = (0, 3, 4, 2, 1)
WINDOWED = frozenset({"conv2d", "maxpool", "avgpool"})


def natural_orders(graph: Graph) -> dict[str, Order]:
    """Of results that are not best row-major: maps that convolutions and pools make or read, and
    what is made of such maps, element by element or by concatenation."""
    orders: dict[str, Order] = {}
    read = {i for node in graph.nodes if is_windowed(node) for i in node.inputs}
    for node in reversed(graph.nodes):
        read |= {i for i in node.inputs if node.op == "slice" and node.outputs[0] in read}
    for node in graph.nodes:
        if node.op == "group" and node.body[-1].attrs.get("apart"):
            orders[node.outputs[0]] = GROUPS_INNERMOST
        if not can_choose(node) or len(graph.tensors[node.outputs[0]].shape) != 4:
            continue
        if is_windowed(node) or node.outputs[0] in read:
            orders[node.outputs[0]] = CHANNELS_INNERMOST
        elif node.inputs and node.inputs[0] in orders:
            orders[node.outputs[0]] = orders[node.inputs[0]]
    return orders


def is_windowed(node: Node) -> bool:
    return node.op == "group" and node.body[0].op in WINDOWED


def ordered(shape: tuple[int, ...], order: Order) -> Strides:
    """The strides of a dense tensor whose dimensions are stored in that order."""
    strides, step = [1] * len(shape), 1
    for axis in reversed(order):
        strides[axis] = step
        step *= shape[axis]
    return tuple(strides)


def derived(node: Node, view: View, tensors: Mapping[str, Tensor]) -> View | None:
    """The view of a view node's result, if strides can express it."""
    if node.op == "transpose":
        return replace(view, strides=tuple(view.strides[axis] for axis in node.attrs["perm"]))
    if node.op == "slice":
        starts = zip(node.attrs["starts"], view.strides, strict=True)
        steps = zip(node.attrs["steps"], view.strides, strict=True)
        offset = view.offset + sum(start * stride for start, stride in starts)
        return View(view.root, offset, tuple(step * stride for step, stride in steps))
    before, after = tensors[node.inputs[0]].shape, tensors[node.outputs[0]].shape
    strides = reshape_strides(before, view.strides, after)
    return None if strides is None else replace(view, strides=strides)


def root_order(graph: Graph, name: str) -> tuple[str, Strides] | None:
    """The root that `name` views through transposes and reshapes, and its strides if `name` is
    row-major."""
    made = graph.producers()
    strides: Strides | None = dense(graph.tensors[name].shape)
    while (node := made.get(name)) is not None and is_view(node) and not is_join(node):
        if strides is None or node.op == "slice":
            return None
        (source,) = node.inputs
        if node.op == "transpose":
            strides = tuple(strides[node.attrs["perm"].index(i)] for i in range(len(strides)))
        else:
            shapes = (graph.tensors[n].shape for n in (name, source))
            strides = reshape_strides(next(shapes), strides, next(shapes))
        name = source
    if strides is None or not is_dense(graph.tensors[name].shape, strides):
        return None
    return name, strides


def groups_apart(graph: Graph, name: str) -> Graph | None:
    """With an axis of its own for the groups of the convolution that `name` views so, if it does;
    then they can be stored between its channels, as a shuffle of channels wants them."""
    made, last = graph.producers(), None
    while (node := made.get(name)) is not None and is_view(node) and not is_join(node):
        name, last = node.inputs[0], node
    if node is None or [b.op for b in node.body] != ["conv2d"] or last is None:
        return None
    (conv,), shape = node.body, graph.tensors[name].shape
    groups, viewed = conv.attrs["group"], graph.tensors[last.outputs[0]].shape
    wanted = (shape[0], groups, shape[1] // groups, *shape[2:])
    users = graph.consumers()[name]
    if groups == 1 or viewed != wanted or users != [last] or name in graph.outputs:
        return None
    split = replace(conv, attrs={**conv.attrs, "apart": True})
    nodes = (replace(n, body=(split,)) if n is node else n for n in graph.nodes)
    whole = replace(graph.tensors[name], shape=wanted)
    return replace(graph, nodes=tuple(nodes), tensors={**graph.tensors, name: whole})


def is_output(graph: Graph, name: str, view: View) -> bool:
    tensor, root = graph.tensors[name], graph.tensors[view.root]
    if name in graph.inputs:
        return True
    whole = root.size == tensor.size and view.offset == 0 and root.dtype == tensor.dtype
    return whole and root.name not in graph.inputs and is_row_major(tensor.shape, view.strides)


def copied_for(graph: Graph, name: str, reader: Node) -> Graph:
    """`reader` reads a copy of `name`."""
    edit = Editor(graph)
    for node in graph.nodes:
        if node is reader:
            new = emit_copy(edit, name, node.loc)
            node = replace(node, inputs=tuple(new if i == name else i for i in node.inputs))
        edit.emit(node)
    return edit.finish()


def copied_out(graph: Graph, name: str) -> Graph:
    """Output `name` is a copy of what was computed as it."""
    edit = Editor(graph)
    for node in graph.nodes:
        if name not in node.outputs:
            edit.emit(edit.resolved(node))
            continue
        inner = edit.like(name, f"{name}.inner")
        edit.emit(replace(node, outputs=tuple(inner if o == name else o for o in node.outputs)))
        edit.emit(copy_group(inner, name, node.loc))
    return edit.finish()
