"""A ring of rows that could not be one is refused: its loop, its size, and who may use it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from .ring import MOST_ROWS
from .tile import Buffer, Compute, Load, Loop, Nest, Operand, Step

Spans = Mapping[str, int]


def faults(nest: Nest, buffer: Buffer) -> Iterator[str]:
    """In words, what is wrong with a ring and the operands in it, the first things first."""
    var, name = buffer.ring, buffer.name
    if var not in nest.dims:
        yield f"the rows of '{name}' go on along '{var}', which is none of {list(nest.dims)}"
        return
    if buffer.kind != "ifmap" or buffer.slots != 1:
        yield f"'{name}' is a ring of rows, but of {buffer.kind} or of {buffer.slots} slots"
    uses = list(in_loops(nest.body, nest.dims))
    inside = [(s, o, spans) for s, spans in uses for o in held_in(s, name)]
    if not any(isinstance(step, Load) for step, _, _ in inside):
        yield f"nothing is loaded into the ring of rows '{name}'"
    for step, operand, spans in inside:
        if not is_ifmap(step, operand):
            yield f"the ring of rows '{name}' is used by more than loads and the array's ifmap"
        if (operand.box, operand.slots) != (inside[0][1].box, inside[0][1].slots):
            yield f"two steps take different tiles of the ring of rows '{name}'"
        yield from wrong_tile(operand, buffer, spans)


def wrong_tile(operand: Operand, buffer: Buffer, spans: Spans) -> Iterator[str]:
    var, name = buffer.ring, buffer.name
    if len(operand.box) != len(buffer.shape):
        yield f"the ring '{name}' has {len(buffer.shape)} dimensions, not {len(operand.box)}"
        return
    if operand.whole or operand.held or operand.slots[-1:] != (var,):
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


def is_ifmap(step: Step, operand: Operand) -> bool:
    if isinstance(step, Load):
        return True
    if not isinstance(step, Compute) or step.op != "tensor":
        return False
    return [n for n, o in step.operands.items() if o.buffer == operand.buffer] == ["ifmap"]


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
