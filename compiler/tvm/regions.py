"""Which calls of a Relax function are ours: those between quantised values.

A float operator is ours if all that it reads comes from DequantizeLinear or from operators of ours,
and all that reads it is ours or quantises; so no float leaves an operator of ours unrounded, and a
float network is left to TVM. What only moves or quantises is ours next to what computes.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from msgspec import Struct
from tvm import relax

from .operators import Operator, Unsupported, operator, tensors

QUANTIZE, DEQUANTIZE = "relax.quantize", "relax.dequantize"


class Step(Struct, frozen=True):
    """A call that has an ONNX form: its result, what it reads of other bindings, what it is."""

    made: Any
    read: tuple[Any, ...]
    call: Any
    operator: Operator

    @property
    def floating(self) -> bool:
        """It computes on floats, which have to be quantised before and after."""
        edge = self.operator.name in (QUANTIZE, DEQUANTIZE)
        return not edge and str(self.call.ty.dtype).startswith("float")


def ours(function: Any) -> list[Any]:
    """The calls in a function that the accelerator takes."""
    steps = {step.made: step for step in candidates(function)}
    readers = read_by(function)
    while bad := [s for s in steps.values() if s.floating and not enclosed(s, steps, readers)]:
        for step in bad:
            del steps[step.made]
    for step in [s for s in steps.values() if s.operator.name == QUANTIZE]:
        if not all(name in steps for name in step.read):
            del steps[step.made]
    groups = [g for g in connected(steps) if any(s.operator.computes and s.read for s in g)]
    return [step.call for group in groups for step in group]


def candidates(function: Any) -> Iterator[Step]:
    for binding in bindings(function):
        call = binding.value
        if not isinstance(call, relax.Call):
            continue
        try:
            known = operator(call)
            given = tensors(call)
            known.export(call, [f"x{i}" for i in range(len(given))], "y")
        except Unsupported:
            continue
        read = tuple(t for t in given if isinstance(t, relax.Var))
        yield Step(binding.var, read, call, known)


def bindings(function: Any) -> Iterator[Any]:
    for block in function.body.blocks:
        yield from block.bindings


def read_by(function: Any) -> dict[Any, list[Any]]:
    """Per variable, the variables that are computed from it; None where the function returns it."""
    readers: dict[Any, list[Any]] = {}
    for made, value in [
        *((b.var, b.value) for b in bindings(function)),
        (None, function.body.body),
    ]:
        for variable in relax.analysis.free_vars(value):
            readers.setdefault(variable, []).append(made)
    return readers


def enclosed(step: Step, steps: dict[Any, Step], readers: dict[Any, list[Any]]) -> bool:
    """Whether the step lies between quantised values, as far as `steps` are ours."""
    return all(name in steps for name in step.read) and all(
        name in steps for name in readers.get(step.made, ())
    )


def connected(steps: dict[Any, Step]) -> list[list[Step]]:
    """The steps in groups, within which they read each other's results."""
    group = {name: [name] for name in steps}
    for step in steps.values():
        for name in step.read:
            if name in group and group[name] is not group[step.made]:
                merge(group, name, step.made)
    unique = {id(names): names for names in group.values()}
    return [[steps[name] for name in names] for names in unique.values()]


def merge(group: dict[Any, list[Any]], one: Any, other: Any) -> None:
    small, large = sorted((group[one], group[other]), key=len)
    large.extend(small)
    group.update(dict.fromkeys(small, large))
