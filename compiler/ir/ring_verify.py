"""A ring of rows that could not be one is refused: its loop, its size, and who may use it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from .ring import MOST_ROWS
from .tile import Buffer, Compute, Load, Loop, Nest, Operand, Step

Spans = Mapping[str, int]
Uses = Sequence[tuple[Step, Operand, Spans]]


def faults(nest: Nest, buffer: Buffer) -> Iterator[str]:
    """In words, what is wrong with a ring and the operands in it, the first things first."""
    var, name = buffer.ring, buffer.name
    if var not in nest.dims:
        yield f"the rows of '{name}' go on along '{var}', which is none of {list(nest.dims)}"
        return
    if buffer.kind not in ("ifmap", "ofmap") or buffer.slots != 1:
        yield f"'{name}' is a ring of rows, but of {buffer.kind} or of {buffer.slots} slots"
    uses = list(in_loops(nest.body, nest.dims))
    inside = [(s, o, spans) for s, spans in uses for o in held_in(s, name)]
    yield from (wrongly_loaded if buffer.kind == "ifmap" else wrongly_made)(buffer, inside)


def wrongly_made(buffer: Buffer, inside: Uses) -> Iterator[str]:
    """Steps add rows to it, of which none goes beyond its end, and pools read them."""
    name = buffer.name
    for step, operand, spans in inside:
        role = role_in(step, name)
        pooled = isinstance(step, Compute) and step.op == "pool" and role == "x"
        if not pooled and (role != "out" or not operand.held):
            yield f"the ring of rows '{name}' is used by more than its results and pools"
        yield from wrong_tile(operand, buffer, spans)
        new, rows = added(operand, buffer, spans)
        if not pooled and rows % new:
            yield f"the ring '{name}' has {rows} rows, and steps add {new}"


def added(operand: Operand, buffer: Buffer, spans: Spans) -> tuple[int, int]:
    """The rows of a tile, and those of its ring."""
    axis = next(i for i, d in enumerate(operand.box) if buffer.ring in d.variables())
    return int(operand.box[axis].span(spans)), buffer.shape[axis]


def role_in(step: Step, name: str) -> str:
    """What an instruction calls its one operand in a buffer; "" if it has none, or several."""
    found = step.operands.items() if isinstance(step, Compute) else ()
    roles = [role for role, operand in found if operand.buffer == name]
    return roles[0] if len(roles) == 1 else ""


def wrongly_loaded(buffer: Buffer, inside: Uses) -> Iterator[str]:
    """Loads bring rows, which the array reads."""
    name = buffer.name
    if not any(isinstance(step, Load) for step, _, _ in inside):
        yield f"nothing is loaded into the ring of rows '{name}'"
    for step, operand, spans in inside:
        array = isinstance(step, Compute) and step.op == "tensor"
        if not isinstance(step, Load) and not (array and role_in(step, name) == "ifmap"):
            yield f"the ring of rows '{name}' is used by more than loads and the array's ifmap"
        if operand.held:
            yield f"a tile of the ring '{name}' is a part of another"
        if (operand.box, operand.slots) != (inside[0][1].box, inside[0][1].slots):
            yield f"two steps take different tiles of the ring of rows '{name}'"
        yield from wrong_tile(operand, buffer, spans)


def wrong_tile(operand: Operand, buffer: Buffer, spans: Spans) -> Iterator[str]:
    var, name = buffer.ring, buffer.name
    if len(operand.box) != len(buffer.shape):
        yield f"the ring '{name}' has {len(buffer.shape)} dimensions, not {len(operand.box)}"
        return
    if operand.whole or operand.slots[-1:] != (var,):
        yield f"the tiles of the ring '{name}' change in a loop inside of {var}, or not in it"
        return
    moving = [i for i, d in enumerate(operand.box) if var in d.variables()]
    scales = [scale for i in moving for v, scale in operand.box[i].terms if v == var]
    if len(moving) != 1 or scales[0] < 1:
        yield f"the tiles of the ring '{name}' do not move on along one dimension with {var}"
        return
    (axis,) = moving
    rows, most = buffer.shape[axis], int(operand.box[axis].largest(spans))
    if not most <= rows <= MOST_ROWS:
        yield f"the ring '{name}' has {rows} rows, not {most}..{MOST_ROWS}"
    sizes = [int(d.largest(spans)) for d in operand.box]
    others = zip(sizes, buffer.shape, strict=True)
    if any(size > held for i, (size, held) in enumerate(others) if i != axis):
        yield f"a row of {sizes} is larger than those of the ring '{name}', {list(buffer.shape)}"


def held_in(step: Step, name: str) -> list[Operand]:
    if isinstance(step, Load):
        return [step.out] * (step.out.buffer == name)
    found = step.operands.values() if isinstance(step, Compute) else ()
    return [o for o in found if o.buffer == name]


def in_loops(body: tuple[Loop | Step, ...], spans: Spans) -> Iterator[tuple[Step, Spans]]:
    """The steps, each with the indices that an iteration of the loops around it covers."""
    for item in body:
        if isinstance(item, Loop):
            yield from in_loops(item.body, {**spans, item.var: item.step})
        else:
            yield item, spans
