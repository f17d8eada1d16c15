"""A Tile program as text in MLIR's generic syntax, and back, exactly.

Its Graph comes first, then a `dnncc.nest` per group: buffers are its SSA values, loops its regions.
An operand is a dictionary: `box` has a string per dimension, "2*p-1:+3<56" for indices 2p - 1 to
2p + 1 within 0..55, ":56" for all of 56; `held` is the box that its buffer holds, if that is more.
The buffers of a step are its MLIR operands, in the order of its dictionaries; one that says
`resident` lies in no buffer.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from ..diagnostics import CompileError
from . import text
from .graph import Array
from .mlir import Block, Operation, TensorType, Type, parse_operation, print_operation
from .tile import (
    Box,
    Buffer,
    Compute,
    Dim,
    HostCall,
    Load,
    Loop,
    Nest,
    Operand,
    Step,
    Store,
    TileProgram,
)

DIM = re.compile(r"(?P<low>[^:<]*)(?::\+(?P<extent>\d+))?<(?P<bound>\d+)")
TERM = re.compile(r"(?P<scale>[+-]?\d+\*|\+?)(?P<var>[a-z]\w*)|(?P<offset>[+-]?\d+)$")
ALL = re.compile(r":(\d+)")

resources = text.resources


def print_tile(program: TileProgram) -> str:
    """Constants are not in it: `resources(program.graph)` has them."""
    graph = text.Printer(program.graph).graph_operation()
    body = (graph, *map(nest_operation, program.nests))
    return print_operation(Operation("dnncc.program", body=Block((), body)))


def nest_operation(nest: Nest) -> Operation:
    """A nest by itself, as it stands in the program's text."""
    types = {b.name: buffer_type(b) for b in nest.buffers}
    body = (*map(buffer_operation, nest.buffers), *(item(i, types) for i in nest.body))
    attrs: dict[str, Any] = {"op": nest.op, "dims": nest.dims}
    if nest.beside:
        attrs["beside"] = True
    return Operation("dnncc.nest", attrs=attrs, body=Block((), body), loc=nest.loc)


def buffer_type(buffer: Buffer) -> TensorType:
    return TensorType(buffer.shape, text.NAMES[buffer.dtype])


def buffer_operation(buffer: Buffer) -> Operation:
    attrs: dict[str, Any] = {"kind": buffer.kind, "memory": buffer.memory, "slots": buffer.slots}
    if buffer.address >= 0:
        attrs["address"] = buffer.address
    if buffer.ring:
        attrs["ring"] = buffer.ring
    if buffer.ahead:
        attrs["ahead"] = buffer.ahead
    if buffer.places:
        attrs["places"] = buffer.places
    types = (buffer_type(buffer),)
    return Operation("dnncc.buffer", (), (buffer.name,), attrs, result_types=types)


Types = Mapping[str, TensorType]


def item(step: Loop | Step, types: Types) -> Operation:
    if isinstance(step, Loop):
        attrs = {"var": step.var, "extent": step.extent, "step": step.step}
        if step.begin or step.end:
            attrs |= {"begin": step.begin, "end": step.end}
        body = Block((), tuple(item(i, types) for i in step.body))
        return Operation("dnncc.for", attrs=attrs, body=body)
    if isinstance(step, Load):
        return touching("dnncc.load", {"out": step.out}, types)
    if isinstance(step, Store):
        return touching("dnncc.store", {"source": step.source}, types)
    if isinstance(step, HostCall):
        return Operation("dnncc.host", attrs={"part": step.part})
    more: dict[str, Any] = {"attrs": step.attrs} if step.attrs else {}
    if step.accumulate:
        more["accumulate"] = step.accumulate
    return touching(f"dnncc.{step.op}", step.operands, types, more)


def touching(
    name: str, operands: Mapping[str, Operand], types: Types, more: Mapping[str, Any] | None = None
) -> Operation:
    """An operation on buffers."""
    buffers = tuple(o.buffer for o in operands.values() if o.buffer)
    told = {role: told_operand(operand, types) for role, operand in operands.items()}
    kinds: tuple[Type, ...] = tuple(types[b] for b in buffers)
    attrs = {"operands": told, **(more or {})}
    return Operation(name, buffers, attrs=attrs, operand_types=kinds)


def told_operand(operand: Operand, types: Types) -> dict[str, Any]:
    told: dict[str, Any] = {"tensor": operand.tensor} if operand.tensor else {}
    told["box"] = tuple(map(print_dim, operand.box))
    element = text.NAMES[operand.dtype]
    if not operand.buffer:
        return {**told, "resident": True, "element": element}
    if element != types[operand.buffer].element:
        told["element"] = element
    if operand.slots:
        told["slot"] = operand.slots
    if operand.held:
        told["held"] = tuple(map(print_dim, operand.held))
    return {**told, "whole": True} if operand.whole else told


def print_dim(dim: Dim) -> str:
    if dim == Dim.whole(dim.bound):
        return f":{dim.bound}"
    terms = [f"+{var}" if scale == 1 else f"{scale:+d}*{var}" for var, scale in dim.terms]
    terms += [f"{dim.offset:+d}"] if dim.offset or not terms else []
    low = "".join(terms).removeprefix("+")
    extent = f":+{dim.extent}" if dim.extent != 1 else ""
    return f"{low}{extent}<{dim.bound}"


def parse_dim(source: str) -> Dim:
    """Raises ValueError."""
    if everything := ALL.fullmatch(source):
        return Dim.whole(int(everything[1]))
    match = DIM.fullmatch(source)
    if match is None:
        raise ValueError(f"'{source}' is not a range of indices")
    terms, offset = parse_low(match["low"])
    return Dim(int(match["bound"]), terms, offset, int(match["extent"] or 1))


def parse_low(source: str) -> tuple[tuple[tuple[str, int], ...], int]:
    """Terms and offset of "16*g+k-1"."""
    terms: list[tuple[str, int]] = []
    offset = at = 0
    while at < len(source):
        match = TERM.match(source, at)
        if match is None:
            raise ValueError(f"'{source}' is not a sum of loop variables")
        at = match.end()
        if match["var"]:
            terms.append((match["var"], int(match["scale"].strip("*+") or 1)))
        else:
            offset = int(match["offset"])
    return tuple(terms), offset


def parse_tile(source: str, resources: Mapping[str, Array], file: str = "<text>") -> TileProgram:
    """Raises CompileError, one line, for what is no Tile program."""
    top = parse_operation(source, file)
    if top.name != "dnncc.program" or top.body is None or not top.body.operations:
        raise CompileError("not a Tile program: it is not one dnncc.program", file=file)
    first, *rest = top.body.operations
    graph = text.Parser(resources, file).graph(first)
    try:
        return TileProgram(graph, tuple(map(nest, rest)))
    except (KeyError, ValueError, TypeError, AttributeError) as fault:
        raise CompileError(f"not a legal nest: {fault!r}", file=file) from None


def nest(op: Operation) -> Nest:
    expect(op, "dnncc.nest")
    buffers = {o.results[0]: buffer(o) for o in inside(op) if o.name == "dnncc.buffer"}
    body = tuple(loop_or_step(o, buffers) for o in inside(op) if o.name != "dnncc.buffer")
    made = op.attrs["op"], op.attrs["dims"], body, tuple(buffers.values())
    return Nest(op.loc, *made, op.attrs.get("beside", False))


def expect(op: Operation, name: str) -> None:
    if op.name != name:
        raise ValueError(f"{op.name} where {name} should be")


def inside(op: Operation) -> Iterator[Operation]:
    return iter(op.body.operations if op.body else ())


def buffer(op: Operation) -> Buffer:
    (name,), (kind,) = op.results, op.result_types
    if not isinstance(kind, TensorType):
        raise ValueError(f"%{name} is not a tensor")
    dtype, attrs = np.dtype(text.ELEMENTS[kind.element]), op.attrs
    where = attrs.get("address", -1)
    fields = attrs["kind"], attrs["memory"], kind.shape, dtype, attrs["slots"], where
    return Buffer(
        name, *fields, attrs.get("ring", ""), attrs.get("ahead", 0), attrs.get("places", ())
    )


Buffers = Mapping[str, Buffer]


def loop_or_step(op: Operation, buffers: Buffers) -> Loop | Step:
    name = op.name.removeprefix("dnncc.")
    if name == "for":
        body = tuple(loop_or_step(o, buffers) for o in inside(op))
        part = op.attrs.get("begin", 0), op.attrs.get("end", 0)
        return Loop(op.attrs["var"], op.attrs["extent"], op.attrs["step"], body, *part)
    if name == "host":
        return HostCall(op.attrs["part"])
    operands = parse_operands(op, buffers)
    if name in MOVES:
        return MOVES[name](*operands.values())
    attrs, accumulate = op.attrs.get("attrs", {}), op.attrs.get("accumulate", ())
    return Compute(name, operands, attrs, accumulate)


MOVES: Mapping[str, Callable[..., Step]] = {"load": Load, "store": Store}


def parse_operands(op: Operation, buffers: Buffers) -> dict[str, Operand]:
    names: Iterator[str] = iter(op.operands)
    told: Iterable[tuple[str, Any]] = op.attrs["operands"].items()
    found = {role: operand(entry, names, buffers) for role, entry in told}
    if next(names, None) is not None:
        raise ValueError(f"{op.name} has more buffers than operands that lie in one")
    return found


def operand(told: Mapping[str, Any], names: Iterator[str], buffers: Buffers) -> Operand:
    box: Box = tuple(map(parse_dim, told["box"]))
    tensor = told.get("tensor", "")
    if "resident" in told:
        return Operand(tensor, box, np.dtype(text.ELEMENTS[told["element"]]))
    name = next(names, "")
    if name not in buffers:
        raise ValueError(f"'{name}' is not a buffer")
    element = told.get("element", text.NAMES[buffers[name].dtype])
    dtype = np.dtype(text.ELEMENTS[element])
    held: Box = tuple(map(parse_dim, told.get("held", ())))
    return Operand(tensor, box, dtype, name, told.get("slot", ()), told.get("whole", False), held)
