"""Steps of the SIMD lanes."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from dnncc.isa import vector

from ..ir.tile import Compute, Env
from ..mapping.workload import LARGEST_FIELD
from .locate import Located, Site, aligned, count_of, locate, ring_fields


def requantize(site: Site, step: Compute, env: Env) -> Any:
    fields = from_psums(site, step, env)
    if "g" in step.attrs["axes"]:
        count, fields["out_sg"] = locate(site, step.operands["out"], env).axis("ngkpq", "g")
        fields |= {"groups": count, "k": count * fields["k"]}
    return vector.Requantize.records(count_of(env), **fields)


def residual(site: Site, step: Compute, env: Env) -> Any:
    side, out = (locate(site, step.operands[name], env) for name in ("side", "out"))
    strides = repeating(side, out)
    axes = step.attrs["axes"][len(out.strides) - len(strides) :]
    steps = {f"side_s{a}": s for a, s in zip(axes, strides, strict=True) if a in "nkpq"}
    fields = {**from_psums(site, step, env), **dict.fromkeys(SIDE_STRIDES, 0), **steps}
    fields |= {"side": side.address, "side_dtype": side.dtype}
    return vector.Residual.records(count_of(env), **fields)


SIDE_STRIDES = tuple(f"side_s{axis}" for axis in "nkpq")


def from_psums(site: Site, step: Compute, env: Env) -> dict[str, Any]:
    """What requantising steps have in common."""
    names = [n for n in ("psum", "params", "out", "table") if n in step.operands]
    place = {name: locate(site, step.operands[name], env) for name in names}
    out, axes = place["out"], step.attrs["axes"]
    fields = {axis: out.axis(axes, axis)[0] for axis in "nkpq"}
    fields |= {f"out_s{axis}": out.axis(axes, axis)[1] for axis in "nkpq"}
    fields |= {name: located.address for name, located in place.items()}
    fields |= {name: value for name, value in step.attrs.items() if name != "axes"}
    return {**fields, "out_dtype": out.dtype}


def repeating(operand: Located, out: Located) -> tuple[Any, ...]:
    """Strides of its dimensions, the last of the result's; 0 along those that it repeats."""
    sizes, strides = operand.extents, operand.strides
    shared = out.extents[len(out.extents) - len(sizes) :]
    return tuple(
        stride * ((mine.size == theirs.size) | (mine.size != 1))
        for mine, theirs, stride in zip(sizes, shared, strides, strict=True)
    )


def broadcast_strides(operand: Located, out: Located) -> tuple[Any, Any, Any, Any]:
    """Right-aligned strides; 0 along a dimension that the operand repeats."""
    return aligned(repeating(operand, out), 0)


def block(site: Site, step: Compute, env: Env, names: str, largest: str = "out") -> dict[str, Any]:
    """Addresses, types and strides of operands over the block of the largest, and its sizes."""
    whole = locate(site, step.operands[largest], env)
    fields: dict[str, Any] = {f"d{i}": size for i, size in enumerate(aligned(whole.sizes, 1))}
    for name in (*names, "out"):
        operand = locate(site, step.operands[name], env)
        fields |= {name: operand.address, f"{name}_dtype": operand.dtype}
        strides = broadcast_strides(operand, whole)
        fields |= {f"{name}_s{i}": stride for i, stride in enumerate(strides)}
    return turned(fields, ("d", *(f"{name}_s" for name in (*names, "out"))))


def turned(fields: dict[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """The innermost stride is a short field: where one is too long, another axis is innermost."""
    longest = [max(int(np.max(fields[f"{name}{axis}"])) for name in names) for axis in range(4)]
    best = longest.index(min(longest))
    if longest[3] <= LARGEST_FIELD or best == 3:
        return fields
    swapped = {f"{n}{a}": fields[f"{n}{b}"] for n in names for a, b in ((best, 3), (3, best))}
    return {**fields, **swapped}


def elementwise(site: Site, step: Compute, env: Env) -> Any:
    fields = block(site, step, env, "ab")
    return vector.Elementwise.records(count_of(env), **fields, **step.attrs)


def map_(site: Site, step: Compute, env: Env) -> Any:
    fields = block(site, step, env, "x")
    if "table" in step.operands:
        fields["table"] = locate(site, step.operands["table"], env).address
    return vector.Map.records(count_of(env), **fields, **step.attrs)


def reduce(site: Site, step: Compute, env: Env) -> Any:
    fields = block(site, step, env, "x", "x")
    return vector.Reduce.records(count_of(env), **fields, **step.attrs)


def pool(site: Site, step: Compute, env: Env) -> Any:
    x, out = (locate(site, step.operands[name], env) for name in ("x", "out"))
    axes, out_axes = step.attrs["axes"], step.attrs["out_axes"]
    fields: dict[str, Any] = {}
    for axis, ours in zip("nchw", "ncpq", strict=True):
        fields[f"x_s{axis}"] = x.axis(axes, axis)[1]
        fields[ours], fields[f"out_s{ours}"] = out.axis(out_axes, ours)
    for axis, of, pad, stride in (("h", "p", "pad_top", "y"), ("w", "q", "pad_left", "x")):
        fields[axis] = x.axis(axes, axis)[0]
        outside = out.before(out_axes, of) * step.attrs[f"stride_{stride}"]
        fields[pad] = x.before(axes, axis) - outside
    attrs = {n: v for n, v in step.attrs.items() if n not in ("axes", "out_axes")}
    fields |= {"x": x.address, "out": out.address, "x_dtype": x.dtype, "out_dtype": out.dtype}
    fields |= ring_fields(site, step.operands["x"], env)
    return vector.Pool.records(count_of(env), **{**fields, **attrs})
